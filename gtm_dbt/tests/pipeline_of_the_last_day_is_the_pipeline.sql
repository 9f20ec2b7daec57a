-- The snapshot of the last day is the pipeline as it is now, exactly.
{{ config(meta={'dagster': {'ref': {'name': 'fct_pipeline_snapshot'}}}) }}

with

snapshot as (
    select
        sum(opportunity_count) as deal_count,
        sum(amount) as amount,
        sum(weighted_amount) as weighted_amount
    from {{ ref('fct_pipeline_snapshot') }}
    where date_day = {{ to_reporting_date(as_of()) }}
),

opportunities as (
    select
        count(*) as deal_count,
        sum(amount_converted) as amount,
        sum(weighted_amount_converted) as weighted_amount
    from {{ ref('fct_opportunity') }}
    where is_open_pipeline
)

select
    snapshot.deal_count,
    opportunities.deal_count as deal_count_now,
    snapshot.amount,
    opportunities.amount as amount_now
from snapshot
cross join opportunities
where
    coalesce(snapshot.deal_count, 0) <> opportunities.deal_count
    or coalesce(snapshot.amount, 0) <> coalesce(opportunities.amount, 0)
    or coalesce(snapshot.weighted_amount, 0) <> coalesce(opportunities.weighted_amount, 0)
