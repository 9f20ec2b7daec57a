-- The owners of the report add up to the fact, each owner's sum rounded once.
{{ config(meta={'dagster': {'ref': {'name': 'rep_owner_performance'}}}) }}

with

reported as (
    select
        sum(opportunity_count) as deal_count,
        sum(won_count) as won_count,
        sum(lost_count) as lost_count,
        sum(won_amount) as won_amount,
        sum(pipeline_amount) as pipeline_amount,
        sum(weighted_pipeline_amount) as weighted_pipeline_amount
    from {{ ref('rep_owner_performance') }}
),

deals_by_owner as (
    select
        count(*) as deal_count,
        count(case when is_won then 1 end) as won_count,
        count(case when opportunity_status = 'Lost' then 1 end) as lost_count,
        {{ money('sum(case when is_won then amount_converted end)') }} as won_amount,
        {{ money('sum(case when is_open_pipeline then amount_converted end)') }} as pipeline_amount,
        {{ money('sum(case when is_open_pipeline then weighted_amount_converted end)') }}
            as weighted_pipeline_amount
    from {{ ref('fct_opportunity') }}
    group by owner_user_key
),

opportunities as (
    select
        coalesce(sum(deal_count), 0) as deal_count,
        coalesce(sum(won_count), 0) as won_count,
        coalesce(sum(lost_count), 0) as lost_count,
        sum(won_amount) as won_amount,
        sum(pipeline_amount) as pipeline_amount,
        sum(weighted_pipeline_amount) as weighted_pipeline_amount
    from deals_by_owner
)

select
    reported.*,
    opportunities.deal_count as deal_count_of_deals
from reported
cross join opportunities
where
    coalesce(reported.deal_count, 0) <> opportunities.deal_count
    or coalesce(reported.won_count, 0) <> opportunities.won_count
    or coalesce(reported.lost_count, 0) <> opportunities.lost_count
    or coalesce(reported.won_amount, 0) <> coalesce(opportunities.won_amount, 0)
    or coalesce(reported.pipeline_amount, 0) <> coalesce(opportunities.pipeline_amount, 0)
    or coalesce(reported.weighted_pipeline_amount, 0) <> coalesce(opportunities.weighted_pipeline_amount, 0)
