-- Each additive measure of the fact equals staging's, and no line is lost or doubled.
{{ config(meta={'dagster': {'ref': {'name': 'fct_opportunity_line_item'}}}) }}

with

lines as (
    select
        count(*) as line_count,
        sum(total_price) as total_price
    from {{ ref('fct_opportunity_line_item') }}
),

staged as (
    select
        count(*) as line_count,
        sum(total_price) as total_price
    from {{ ref('stg_salesforce__opportunity_line_item') }}
)

select
    lines.line_count,
    staged.line_count as staged_line_count,
    lines.total_price,
    staged.total_price as staged_total_price
from lines
cross join staged
where
    lines.line_count <> staged.line_count
    or lines.total_price is distinct from staged.total_price
