{%- set idle_after_days = var('idle_after_days') | int -%}

{{ amounts_add_up() }}

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

-- The week under way ends today.
calendar as (
    select
        date_key,
        week_end_date,
        iso_week,
        least(week_end_date, {{ to_reporting_date(as_of()) }}) as last_day
    from {{ ref('dim_date') }}
),

compared as (
    select
        deals_by_day.*,
        calendar.week_end_date,
        calendar.iso_week,
        calendar.last_day,
        stages.sort_order,
        lag(deals_by_day.date_day) over days_of_opportunity as previous_day,
        lag(deals_by_day.is_open_pipeline) over days_of_opportunity as was_open_pipeline,
        lag(deals_by_day.stage_name) over days_of_opportunity as previous_stage,
        lag(stages.sort_order) over days_of_opportunity as previous_sort_order,
        lag(deals_by_day.close_date) over days_of_opportunity as previous_close_date
    from deals_by_day
    inner join calendar on deals_by_day.date_key = calendar.date_key
    left join stages on deals_by_day.stage_name = stages.stage_name
    window days_of_opportunity as (partition by deals_by_day.opportunity_id order by deals_by_day.date_day)
),

-- The events of each day. A won or lost opportunity counts in the stage that it was in before.
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
        is_open_pipeline and was_open_pipeline and close_date > previous_close_date as is_slipped
    from compared
),

-- An event that happens to an opportunity several times in a week counts once: the last time.
counted as (
    select
        *,
        is_added
        and row_number() over (
            partition by opportunity_id, week_end_date, is_added order by date_day desc
        ) = 1 as counts_as_added,
        is_closed
        and row_number() over (
            partition by opportunity_id, week_end_date, is_closed order by date_day desc
        ) = 1 as counts_as_closed
    from moved
    where is_open_at_end or is_added or is_advanced or is_slipped or is_closed
),

by_stage as (
    select
        counted.week_end_date,
        counted.iso_week,
        counted.owner_user_key,
        counted.report_stage,
        counted.source_system,
        count(case when counted.is_open_at_end then 1 end) as open_count,
        sum(case when counted.is_open_at_end then counted.amount_converted end) as open_amount,
        sum(case when counted.is_open_at_end then counted.weighted_amount_converted end) as weighted_amount,
        sum(
            case
                when counted.is_open_at_end and counted.close_date <= quota_progress.end_date
                    then counted.amount_converted
            end
        ) as due_in_period_amount,
        count(case when counted.counts_as_added then 1 end) as added_count,
        sum(case when counted.counts_as_added then counted.amount_converted end) as added_amount,
        count(distinct case when counted.is_advanced then counted.opportunity_id end) as advanced_count,
        count(distinct case when counted.is_slipped then counted.opportunity_id end) as slipped_count,
        count(case when counted.counts_as_closed and not counted.is_won then 1 end) as lost_count,
        sum(
            case when counted.counts_as_closed and not counted.is_won then counted.amount_converted end
        ) as lost_amount,
        count(case when counted.counts_as_closed and counted.is_won then 1 end) as won_count,
        sum(case when counted.counts_as_closed and counted.is_won then counted.amount_converted end) as won_amount,
        count(
            case when counted.is_open_at_end and counted.close_date < counted.date_day then 1 end
        ) as overdue_count,
        -- On days that are rebuilt nobody knows the last activity.
        case
            when
                count(case when counted.is_open_at_end then 1 end) = 0
                or count(case when counted.is_open_at_end and counted.is_observed then 1 end) > 0
                then count(
                    case
                        when
                            counted.is_open_at_end
                            and counted.is_observed
                            and coalesce(counted.last_activity_date, counted.created_date)
                            < counted.date_day - {{ idle_after_days }}
                            then 1
                    end
                )
        end as idle_count,
        max(quota_progress.remaining_quota_amount) as remaining_quota_amount
    from counted
    left join quota_progress
        on
            counted.last_day = quota_progress.report_date
            and counted.owner_user_key = quota_progress.owner_user_key
    where
        counted.is_open_at_end
        or counted.counts_as_added
        or counted.is_advanced
        or counted.is_slipped
        or counted.counts_as_closed
    group by
        counted.week_end_date,
        counted.iso_week,
        counted.owner_user_key,
        counted.report_stage,
        counted.source_system
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
        by_stage.iso_week,
        by_stage.owner_user_key,
        owners.user_name as owner_name,
        by_stage.report_stage as stage_name,
        stages.sort_order as stage_order,
        by_stage.week_end_date < {{ to_reporting_date(as_of()) }} as is_week_over,
        by_stage.week_end_date
        between {{ to_reporting_date(as_of()) }} and {{ to_reporting_date(as_of()) }} + 6 as is_latest,
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
        {{ cents('by_stage.remaining_quota_amount') }} as remaining_quota_amount,
        {{ safe_divide('coalesce(by_stage.due_in_period_amount, 0)', 'by_stage.remaining_quota_amount') }}
            as quota_coverage,
        -- provenance
        by_stage.source_system
    from by_stage
    left join owners on by_stage.owner_user_key = owners.user_key
    left join stages on by_stage.report_stage = stages.stage_name
)

select * from final
