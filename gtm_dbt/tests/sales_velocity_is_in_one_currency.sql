-- Amounts are added: that is refused where deals have several currencies.
{{ config(meta={'dagster': {'ref': {'name': 'rep_sales_velocity'}}}) }}

with

added as (
    select count(*) as row_count from {{ ref('rep_sales_velocity') }}
),

currencies as (
    select count(distinct currency_iso_code) as currency_count
    from {{ ref('fct_opportunity') }}
    where amount is not null
)

select currencies.currency_count
from currencies
cross join added
where currencies.currency_count > 1
