-- An opportunity or activity whose account is known points to a version of that account, however old it is.
{{ config(meta={'dagster': {'ref': {'name': 'fct_activity'}}}) }}

with

facts as (
    select
        activity_id as fact_id,
        account_id,
        account_key
    from {{ ref('fct_activity') }}
    union all
    select
        opportunity_id as fact_id,
        account_id,
        account_key
    from {{ ref('fct_opportunity') }}
),

accounts as (
    select account_id
    from {{ ref('dim_account_scd2') }}
    where is_current
)

select facts.*
from facts
inner join accounts on facts.account_id = accounts.account_id
where facts.account_key = {{ unknown_key() }}
