-- The fact holds the credits that staging holds, exactly.
{{ config(meta={'dagster': {'ref': {'name': 'fct_campaign_influence'}}}) }}

with

facts as (
    select
        count(*) as row_count,
        sum(influence_amount) as amount
    from {{ ref('fct_campaign_influence') }}
),

staged as (
    select
        count(*) as row_count,
        sum(revenue_share) as amount
    from {{ ref('stg_salesforce__campaign_influence') }}
)

select
    facts.row_count,
    staged.row_count as staged_row_count,
    facts.amount,
    staged.amount as staged_amount
from facts
cross join staged
where
    facts.row_count <> staged.row_count
    or facts.amount is distinct from staged.amount
