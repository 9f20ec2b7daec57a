-- The owners of the report add up to the tasks of the fact.
{{ config(meta={'dagster': {'ref': {'name': 'rep_owner_performance'}}}) }}

with

reported as (
    select
        sum(task_count) as task_count,
        sum(completed_task_count) as completed_task_count
    from {{ ref('rep_owner_performance') }}
),

tasks as (
    select
        count(*) as task_count,
        count(case when is_completed then 1 end) as completed_task_count
    from {{ ref('fct_task') }}
)

select
    reported.task_count,
    tasks.task_count as task_count_of_tasks
from reported
cross join tasks
where
    coalesce(reported.task_count, 0) <> tasks.task_count
    or coalesce(reported.completed_task_count, 0) <> tasks.completed_task_count
