-- Every row of Pipedrive that should count in the funnel can be counted, and its stage or type is in the seed.
-- Mend the rows in Pipedrive, or name the stage or type in its seed, with its step or without one.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_pipedrive__deal_changes'}}}) }}

with

stage_changes as (
    select
        changes.new_value,
        case
            when changes.new_stage_id is null then 'stage_id is no whole number'
            when changes.deal_id is null then 'change of stage without a deal'
            when mapped.stage_id is null then 'stage is not in the seed pipedrive_stages'
        end as fault
    from {{ ref('stg_pipedrive__deal_changes') }} as changes
    left join {{ ref('pipedrive_stages') }} as mapped on changes.new_stage_id = mapped.stage_id
    where changes.changed_field_key = 'stage_id'
),

activities as (
    select
        activities.activity_type as new_value,
        case
            when mapped.activity_type is null then 'activity type is not in the seed pipedrive_activity_types'
            when mapped.funnel_step is not null and activities.is_done and activities.deal_id is null
                then 'completed sales call without a deal'
            when mapped.funnel_step is not null and activities.is_done and activities.due_at is null
                then 'completed sales call without a due date'
        end as fault
    from {{ ref('stg_pipedrive__activity') }} as activities
    left join {{ ref('pipedrive_activity_types') }} as mapped on activities.activity_type = mapped.activity_type
),

rows_at_fault as (
    select * from stage_changes
    union all
    select * from activities
)

select
    fault,
    new_value,
    count(*) as row_count
from rows_at_fault
where fault is not null
group by fault, new_value
