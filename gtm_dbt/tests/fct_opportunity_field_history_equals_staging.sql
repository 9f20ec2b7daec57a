-- The fact holds the changes that staging holds, no more and no less.
{{ config(meta={'dagster': {'ref': {'name': 'fct_opportunity_field_history'}}}) }}

with

changes as (
    select * from {{ ref('fct_opportunity_field_history') }}
),

staged as (
    select * from {{ ref('stg_salesforce__opportunity_field_history') }}
)

select
    changes.opportunity_field_history_id,
    staged.opportunity_field_history_id as staged_opportunity_field_history_id
from changes
full outer join staged on changes.opportunity_field_history_id = staged.opportunity_field_history_id
where
    changes.opportunity_field_history_id is null
    or staged.opportunity_field_history_id is null
    or changes.new_value is distinct from staged.new_value
