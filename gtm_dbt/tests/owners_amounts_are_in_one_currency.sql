-- The report adds amounts: it refuses to do so where deals have several currencies.
{{ config(meta={'dagster': {'ref': {'name': 'rep_owner_performance'}}}) }}

with

reported as (
    select count(*) as owner_count from {{ ref('rep_owner_performance') }}
),

currencies as (
    select count(distinct currency_iso_code) as currency_count
    from {{ ref('fct_opportunity') }}
    where amount is not null
)

select currencies.currency_count
from currencies
cross join reported
where currencies.currency_count > 1
