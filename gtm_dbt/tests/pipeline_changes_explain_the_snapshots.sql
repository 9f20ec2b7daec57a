-- From each day to the next, the pipeline of each owner changes by the rows of that day, in amount and in number.
{{ config(meta={'dagster': {'ref': {'name': 'fct_pipeline_change'}}}) }}

with

snapshots as (
    select
        date_day,
        owner_user_key,
        source_system,
        sum(amount) as amount,
        sum(opportunity_count) as opportunity_count
    from {{ ref('fct_pipeline_snapshot') }}
    group by date_day, owner_user_key, source_system
),

-- Days are those of opportunities: on the first one nothing has changed, and the last one may have no pipeline.
bounds as (
    select
        min(date_day) as first_day,
        max({{ to_reporting_date(as_of()) }}) as last_day
    from {{ ref('int_opportunity_days') }}
),

-- What the end of a day adds to the difference, and the end of the day before takes from it.
steps as (
    select
        date_day,
        owner_user_key,
        source_system,
        amount,
        opportunity_count
    from snapshots
    union all
    select
        date_day + 1 as date_day,
        owner_user_key,
        source_system,
        -amount as amount,
        -opportunity_count as opportunity_count
    from snapshots
    union all
    select
        date_day,
        owner_user_key,
        source_system,
        -amount as amount,
        -opportunity_count as opportunity_count
    from {{ ref('fct_pipeline_change') }}
)

select
    steps.date_day,
    steps.owner_user_key,
    steps.source_system,
    sum(steps.amount) as unexplained_amount,
    sum(steps.opportunity_count) as unexplained_count
from steps
cross join bounds
where steps.date_day > bounds.first_day and steps.date_day <= bounds.last_day
group by steps.date_day, steps.owner_user_key, steps.source_system
having sum(steps.amount) <> 0 or sum(steps.opportunity_count) <> 0
