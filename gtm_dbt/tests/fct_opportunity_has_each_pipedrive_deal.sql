-- The fact holds each of Pipedrive's deals of which a change is known, and no other of Pipedrive's.
{{ config(meta={'dagster': {'ref': {'name': 'fct_opportunity'}}}) }}

with

opportunities as (
    select count(*) as opportunity_count
    from {{ ref('fct_opportunity') }}
    where source_system = 'pipedrive'
),

staged as (
    select count(distinct deal_id) as deal_count
    from {{ ref('stg_pipedrive__deal_changes') }}
)

select
    opportunities.opportunity_count,
    staged.deal_count as staged_deal_count
from opportunities
cross join staged
where opportunities.opportunity_count <> staged.deal_count
