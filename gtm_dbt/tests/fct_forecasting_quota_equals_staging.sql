-- The fact holds the quotas that staging holds, exactly.
{{ config(meta={'dagster': {'ref': {'name': 'fct_forecasting_quota'}}}) }}

with

facts as (
    select
        count(*) as row_count,
        sum(quota_amount) as amount
    from {{ ref('fct_forecasting_quota') }}
),

staged as (
    select
        count(*) as row_count,
        sum(quota_amount) as amount
    from {{ ref('stg_salesforce__forecasting_quota') }}
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
