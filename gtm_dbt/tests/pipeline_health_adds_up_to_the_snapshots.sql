-- At the end of a week, the owners and stages of the report add up to the pipeline of that day, each sum of an
-- owner and a stage rounded once. Won and lost add up to the opportunities that closed in the week, each counted
-- once, as it closed last, up to the rounding of the rows.
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
        sum(won_amount) as won_amount,
        sum(lost_amount) as lost_amount
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

snapshots_by_stage as (
    select
        calendar.week_end_date,
        sum(snapshots.opportunity_count) as open_count,
        {{ money('sum(snapshots.amount)') }} as open_amount,
        {{ money('sum(snapshots.weighted_amount)') }} as weighted_amount
    from {{ ref('fct_pipeline_snapshot') }} as snapshots
    inner join calendar on snapshots.date_key = calendar.date_key and snapshots.date_day = calendar.last_day
    group by
        calendar.week_end_date,
        snapshots.owner_user_key,
        snapshots.stage_name,
        snapshots.source_system
),

snapshots as (
    select
        week_end_date,
        sum(open_count) as open_count,
        sum(open_amount) as open_amount,
        sum(weighted_amount) as weighted_amount
    from snapshots_by_stage
    group by week_end_date
),

last_closings as (
    select
        calendar.week_end_date,
        deals_by_day.opportunity_id,
        max(deals_by_day.date_key) as date_key
    from {{ ref('int_opportunity_days') }} as deals_by_day
    inner join calendar on deals_by_day.date_key = calendar.date_key
    where deals_by_day.is_closed
    group by calendar.week_end_date, deals_by_day.opportunity_id
),

closed as (
    select
        last_closings.week_end_date,
        count(case when deals_by_day.is_won then 1 end) as won_count,
        count(case when not deals_by_day.is_won then 1 end) as lost_count,
        sum(case when deals_by_day.is_won then deals_by_day.amount_converted end) as won_amount,
        sum(case when not deals_by_day.is_won then deals_by_day.amount_converted end) as lost_amount,
        {{ rounding_of_rows('case when deals_by_day.is_won then deals_by_day.amount_converted end') }}
            as won_rounding,
        {{ rounding_of_rows('case when not deals_by_day.is_won then deals_by_day.amount_converted end') }}
            as lost_rounding
    from last_closings
    inner join {{ ref('int_opportunity_days') }} as deals_by_day
        on
            last_closings.opportunity_id = deals_by_day.opportunity_id
            and last_closings.date_key = deals_by_day.date_key
    group by last_closings.week_end_date
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
    or abs(coalesce(reported.won_amount, 0) - coalesce(closed.won_amount, 0)) > coalesce(closed.won_rounding, 0)
    or abs(coalesce(reported.lost_amount, 0) - coalesce(closed.lost_amount, 0)) > coalesce(closed.lost_rounding, 0)
