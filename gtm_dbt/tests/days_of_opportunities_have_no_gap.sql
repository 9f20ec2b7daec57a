-- An open opportunity has a row for each day up to the last one. Days are missing only after it was closed or
-- deleted.
{{ config(meta={'dagster': {'ref': {'name': 'fct_opportunity_history'}}}) }}

with

days as (
    select
        opportunity_id,
        date_day,
        is_closed,
        lead(date_day) over (partition by opportunity_id order by date_day) as next_day
    from {{ ref('fct_opportunity_history') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
    where source_system = 'salesforce'
),

deleted_once as (
    select opportunity_id
    from {{ ref('int_opportunity_versions') }}
    where is_deleted
    group by opportunity_id
),

today as (
    select {{ to_reporting_date(as_of()) }} as last_day
),

gaps as (
    select
        days.opportunity_id,
        days.date_day,
        days.next_day
    from days
    cross join today
    left join deleted_once on days.opportunity_id = deleted_once.opportunity_id
    where
        not days.is_closed
        and deleted_once.opportunity_id is null
        and coalesce(days.next_day, today.last_day + 1) <> days.date_day + 1
),

without_days as (
    select
        opportunities.opportunity_id,
        today.last_day as date_day,
        cast(null as date) as next_day
    from opportunities
    cross join today
    left join days on opportunities.opportunity_id = days.opportunity_id and today.last_day = days.date_day
    where
        not opportunities.is_closed
        and days.opportunity_id is null
        and opportunities.created_date <= today.last_day
)

select * from gaps
union all
select * from without_days
