-- What the report shows of all owners and stages at a week's end is the pipeline of that day, to the cent; what it
-- shows as won and lost are the deals that closed in the week.
{{ config(meta={'dagster': {'ref': {'name': 'rep_pipeline_health'}}}) }}

with

reported as (
    select
        week_end_date,
        sum(open_count) as open_count,
        sum(open_amount) as open_amount,
        sum(weighted_amount) as weighted_amount,
        sum(won_count) as won_count,
        sum(lost_count) as lost_count,
        sum(won_amount) as won_amount
    from {{ ref('rep_pipeline_health') }}
    group by week_end_date
),

calendar as (
    select
        date_key,
        week_end_date,
        least(week_end_date, {{ to_reporting_date(as_of()) }}) as last_day
    from {{ ref('dim_date') }}
),

snapshots as (
    select
        calendar.week_end_date,
        sum(snapshots.opportunity_count) as open_count,
        sum(snapshots.amount) as open_amount,
        sum(snapshots.weighted_amount) as weighted_amount
    from {{ ref('fct_pipeline_snapshot') }} as snapshots
    inner join calendar on snapshots.date_key = calendar.date_key and snapshots.date_day = calendar.last_day
    group by calendar.week_end_date
),

closed as (
    select
        calendar.week_end_date,
        count(case when deals_by_day.is_won then 1 end) as won_count,
        count(case when not deals_by_day.is_won then 1 end) as lost_count,
        sum(case when deals_by_day.is_won then deals_by_day.amount_converted end) as won_amount
    from {{ ref('int_opportunity_days') }} as deals_by_day
    inner join calendar on deals_by_day.date_key = calendar.date_key
    where deals_by_day.is_closed
    group by calendar.week_end_date
),

weeks as (
    select week_end_date from reported
    union
    select week_end_date from snapshots
    union
    select week_end_date from closed
)

select
    weeks.week_end_date,
    reported.open_amount,
    snapshots.open_amount as snapshot_amount
from weeks
left join reported on weeks.week_end_date = reported.week_end_date
left join snapshots on weeks.week_end_date = snapshots.week_end_date
left join closed on weeks.week_end_date = closed.week_end_date
where
    coalesce(reported.open_count, 0) <> coalesce(snapshots.open_count, 0)
    or coalesce(reported.open_amount, 0) <> coalesce(snapshots.open_amount, 0)
    or coalesce(reported.weighted_amount, 0) <> coalesce(snapshots.weighted_amount, 0)
    or coalesce(reported.won_count, 0) <> coalesce(closed.won_count, 0)
    or coalesce(reported.lost_count, 0) <> coalesce(closed.lost_count, 0)
    or coalesce(reported.won_amount, 0) <> coalesce(closed.won_amount, 0)
