-- Every task, event, email and activity of Pipedrive is one activity.
{{ config(meta={'dagster': {'ref': {'name': 'fct_activity'}}}) }}

with

activities as (
    select
        activity_source,
        count(*) as activity_count
    from {{ ref('fct_activity') }}
    group by activity_source
),

sources as (
    select
        'Task' as activity_source,
        count(*) as source_count
    from {{ ref('fct_task') }}
    union all
    select
        'Event' as activity_source,
        count(*) as source_count
    from {{ ref('fct_event') }}
    union all
    select
        'Email message' as activity_source,
        count(*) as source_count
    from {{ ref('fct_email_message') }}
    union all
    select
        'Pipedrive activity' as activity_source,
        count(*) as source_count
    from {{ ref('stg_pipedrive__activity') }}
)

select
    sources.activity_source,
    sources.source_count,
    activities.activity_count
from sources
left join activities on sources.activity_source = activities.activity_source
where sources.source_count <> coalesce(activities.activity_count, 0)
