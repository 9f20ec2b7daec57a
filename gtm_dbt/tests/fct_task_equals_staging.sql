-- The fact holds the tasks that staging holds, no more and no less.
{{ config(meta={'dagster': {'ref': {'name': 'fct_task'}}}) }}

with

tasks as (
    select * from {{ ref('fct_task') }}
),

staged as (
    select * from {{ ref('stg_salesforce__task') }}
)

select
    tasks.task_id,
    staged.task_id as staged_task_id
from tasks
full outer join staged on tasks.task_id = staged.task_id
where
    tasks.task_id is null
    or staged.task_id is null
    or tasks.owner_user_id is distinct from staged.owner_user_id
    or tasks.completed_at is distinct from staged.completed_at
