-- Amounts are added: that is refused where deals have several currencies.
{{ config(meta={'dagster': {'ref': {'name': 'fct_pipeline_snapshot'}}}) }}

with

added as (
    select count(*) as row_count from {{ ref('fct_pipeline_snapshot') }}
),

currencies as (
    select count(distinct currency_iso_code) as currency_count
    from {{ ref('fct_opportunity_history') }}
    where amount is not null
)

select currencies.currency_count
from currencies
cross join added
where currencies.currency_count > 1
