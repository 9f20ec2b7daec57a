{%- set idle_after_days = var('idle_after_days', 30) | int -%}

with

deals_by_day as (
    select * from {{ ref('int_opportunity_days') }}
),

stages as (
    select * from {{ ref('int_opportunity_stages') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

quota_progress as (
    select * from {{ ref('int_quota_progress') }}
),

-- The week that is under way ends with today.
calendar as (
    select
        date_key,
        week_end_date,
        least(week_end_date, {{ to_reporting_date(as_of()) }}) as last_day
    from {{ ref('dim_date') }}
),

compared as (
    select
        deals_by_day.*,
        calendar.week_end_date,
        calendar.last_day,
        stages.sort_order,
        lag(deals_by_day.date_day) over (
            partition by deals_by_day.opportunity_id order by deals_by_day.date_day
        ) as previous_day,
        lag(deals_by_day.is_open_pipeline) over (
            partition by deals_by_day.opportunity_id order by deals_by_day.date_day
        ) as was_open_pipeline,
        lag(deals_by_day.stage_name) over (
            partition by deals_by_day.opportunity_id order by deals_by_day.date_day
        ) as previous_stage,
        lag(stages.sort_order) over (
            partition by deals_by_day.opportunity_id order by deals_by_day.date_day
        ) as previous_sort_order,
        lag(deals_by_day.close_date) over (
            partition by deals_by_day.opportunity_id order by deals_by_day.date_day
        ) as previous_close_date
    from deals_by_day
    inner join calendar on deals_by_day.date_key = calendar.date_key
    left join stages on deals_by_day.stage_name = stages.stage_name
),

-- What happened on the day. Won and lost count in the stage that the deal was in before.
moved as (
    select
        *,
        case when is_closed then coalesce(previous_stage, stage_name) else stage_name end as report_stage,
        is_open_pipeline and date_day = last_day as is_open_at_end,
        is_open_pipeline
        and (
            (previous_day is not null and not was_open_pipeline)
            or (previous_day is null and date_day = created_date)
        ) as is_added,
        is_open_pipeline and was_open_pipeline and sort_order > previous_sort_order as is_advanced,
        is_open_pipeline and was_open_pipeline and close_date > previous_close_date as is_slipped,
        is_closed and not is_won as is_lost
    from compared
),

by_stage as (
    select
        moved.week_end_date,
        moved.owner_user_key,
        moved.report_stage,
        moved.source_system,
        count(case when moved.is_open_at_end then 1 end) as open_count,
        sum(case when moved.is_open_at_end then moved.amount_converted end) as open_amount,
        sum(case when moved.is_open_at_end then moved.weighted_amount_converted end) as weighted_amount,
        sum(
            case
                when moved.is_open_at_end and moved.close_date <= quota_progress.end_date
                    then moved.amount_converted
            end
        ) as due_in_period_amount,
        count(distinct case when moved.is_added then moved.opportunity_id end) as added_count,
        sum(case when moved.is_added then moved.amount_converted end) as added_amount,
        count(distinct case when moved.is_advanced then moved.opportunity_id end) as advanced_count,
        count(distinct case when moved.is_slipped then moved.opportunity_id end) as slipped_count,
        count(distinct case when moved.is_lost then moved.opportunity_id end) as lost_count,
        sum(case when moved.is_lost then moved.amount_converted end) as lost_amount,
        count(distinct case when moved.is_won then moved.opportunity_id end) as won_count,
        sum(case when moved.is_won then moved.amount_converted end) as won_amount,
        count(case when moved.is_open_at_end and moved.close_date < moved.date_day then 1 end) as overdue_count,
        count(
            case
                when
                    moved.is_open_at_end
                    and coalesce(moved.last_activity_date, moved.created_date)
                    < moved.date_day - {{ idle_after_days }}
                    then 1
            end
        ) as idle_count,
        max(quota_progress.remaining_quota_amount) as remaining_quota_amount
    from moved
    left join quota_progress
        on
            moved.last_day = quota_progress.report_date
            and moved.owner_user_key = quota_progress.owner_user_key
    where
        moved.is_open_at_end
        or moved.is_added
        or moved.is_advanced
        or moved.is_slipped
        or moved.is_closed
    group by
        moved.week_end_date,
        moved.owner_user_key,
        moved.report_stage,
        moved.source_system
),

final as (
    select
        -- keys
        {{
            surrogate_key([
                'by_stage.week_end_date',
                'by_stage.owner_user_key',
                "coalesce(by_stage.report_stage, '')",
                'by_stage.source_system',
            ])
        }} as pipeline_health_key,
        by_stage.week_end_date,
        by_stage.owner_user_key,
        owners.user_name as owner_name,
        by_stage.report_stage as stage_name,
        stages.sort_order as stage_order,
        -- at the week's end
        by_stage.open_count,
        {{ money('by_stage.open_amount') }} as open_amount,
        {{ money('by_stage.weighted_amount') }} as weighted_amount,
        by_stage.overdue_count,
        by_stage.idle_count,
        -- in the week
        by_stage.added_count,
        {{ money('by_stage.added_amount') }} as added_amount,
        by_stage.advanced_count,
        by_stage.slipped_count,
        by_stage.lost_count,
        {{ money('by_stage.lost_amount') }} as lost_amount,
        by_stage.won_count,
        {{ money('by_stage.won_amount') }} as won_amount,
        -- quota
        by_stage.remaining_quota_amount,
        {{ safe_divide('coalesce(by_stage.due_in_period_amount, 0)', 'by_stage.remaining_quota_amount') }}
            as quota_coverage,
        -- provenance
        by_stage.source_system
    from by_stage
    left join owners on by_stage.owner_user_key = owners.user_key
    left join stages on by_stage.report_stage = stages.stage_name
)

select * from final
