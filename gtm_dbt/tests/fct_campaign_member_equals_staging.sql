-- The fact holds the people in campaigns that staging holds, and their responses.
{{ config(meta={'dagster': {'ref': {'name': 'fct_campaign_member'}}}) }}

with

facts as (
    select
        count(*) as row_count,
        count(first_responded_date) as response_count
    from {{ ref('fct_campaign_member') }}
),

staged as (
    select
        count(*) as row_count,
        count(first_responded_date) as response_count
    from {{ ref('stg_salesforce__campaign_member') }}
)

select
    facts.row_count,
    staged.row_count as staged_row_count,
    facts.response_count,
    staged.response_count as staged_response_count
from facts
cross join staged
where
    facts.row_count <> staged.row_count
    or facts.response_count is distinct from staged.response_count
