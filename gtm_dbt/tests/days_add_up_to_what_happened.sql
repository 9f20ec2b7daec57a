-- The days of the report add up to all records that have a day.
{{ config(meta={'dagster': {'ref': {'name': 'rep_daily_activity'}}}) }}

with

reported as (
    select
        coalesce(sum(tasks_due_count), 0) as tasks_due_count,
        coalesce(sum(tasks_completed_count), 0) as tasks_completed_count,
        coalesce(sum(leads_created_count), 0) as leads_created_count,
        coalesce(sum(opportunities_created_count), 0) as opportunities_created_count,
        coalesce(sum(won_count), 0) as won_count,
        coalesce(sum(lost_count), 0) as lost_count
    from {{ ref('rep_daily_activity') }}
),

tasks as (
    select
        count(activity_date) as due_count,
        count(completed_date) as completed_count
    from {{ ref('fct_task') }}
),

leads as (
    select count(created_at) as created_count from {{ ref('stg_salesforce__lead') }}
),

opportunities as (
    select
        count(created_date) as created_count,
        count(case when is_won then close_date end) as won_count,
        count(case when is_closed and not is_won then close_date end) as lost_count
    from {{ ref('fct_opportunity') }}
)

select reported.*
from reported
cross join tasks
cross join leads
cross join opportunities
where
    reported.tasks_due_count <> tasks.due_count
    or reported.tasks_completed_count <> tasks.completed_count
    or reported.leads_created_count <> leads.created_count
    or reported.opportunities_created_count <> opportunities.created_count
    or reported.won_count <> opportunities.won_count
    or reported.lost_count <> opportunities.lost_count
