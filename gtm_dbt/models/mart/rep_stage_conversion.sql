with

stage_intervals as (
    select * from {{ ref('fct_opportunity_stage_history') }}
    where not is_closed_stage
),

opportunities as (
    select
        *,
        cast({{ dbt.date_trunc('month', 'created_date') }} as date) as cohort_month
    from {{ ref('fct_opportunity') }}
),

months as (
    select * from {{ ref('int_months') }}
),

stages as (
    select * from {{ ref('int_opportunity_stages') }}
),

with_cohort as (
    select
        opportunities.cohort_month,
        opportunities.source_system,
        opportunities.opportunity_status,
        stage_intervals.opportunity_id,
        stage_intervals.stage_name,
        stage_intervals.exit_direction,
        stage_intervals.days_in_stage
    from stage_intervals
    inner join opportunities on stage_intervals.opportunity_id = opportunities.opportunity_id
),

-- An opportunity counts once, however often it was in the stage.
entered as (
    select
        cohort_month,
        source_system,
        stage_name,
        opportunity_id,
        opportunity_status,
        max(case when exit_direction in ('Forward', 'Won') then 1 else 0 end) as advanced
    from with_cohort
    group by cohort_month, source_system, stage_name, opportunity_id, opportunity_status
),

counted as (
    select
        cohort_month,
        source_system,
        stage_name,
        count(*) as entered_count,
        cast(sum(advanced) as bigint) as advanced_count,
        count(case when opportunity_status = 'Won' then 1 end) as won_count,
        count(case when opportunity_status = 'Lost' then 1 end) as lost_count,
        count(case when opportunity_status = 'Open' then 1 end) as open_count
    from entered
    group by cohort_month, source_system, stage_name
),

lengths as (
    select
        cohort_month,
        source_system,
        stage_name,
        {{ median('days_in_stage') }} as median_days_in_stage
    from with_cohort
    group by cohort_month, source_system, stage_name
),

cohorts as (
    select
        cohort_month,
        source_system,
        count(*) as cohort_count
    from opportunities
    group by cohort_month, source_system
),

final as (
    select
        -- keys
        {{ surrogate_key(['counted.cohort_month', "coalesce(counted.stage_name, '')", 'counted.source_system']) }}
            as stage_conversion_key,
        counted.cohort_month,
        counted.stage_name,
        -- what it is
        stages.sort_order as stage_order,
        months.fiscal_year,
        months.fiscal_quarter,
        months.fiscal_quarter_name,
        months.is_month_over,
        months.is_latest,
        -- measures
        cohorts.cohort_count,
        counted.entered_count,
        counted.advanced_count,
        counted.won_count,
        counted.lost_count,
        counted.open_count,
        {{ safe_divide('counted.advanced_count', 'counted.entered_count') }} as conversion_rate,
        {{ win_rate('counted.won_count', 'counted.lost_count') }} as win_rate_by_count,
        lengths.median_days_in_stage,
        -- provenance
        counted.source_system
    from counted
    inner join cohorts
        on counted.cohort_month = cohorts.cohort_month and counted.source_system = cohorts.source_system
    inner join lengths
        on
            counted.cohort_month = lengths.cohort_month
            and counted.source_system = lengths.source_system
            and coalesce(counted.stage_name, '') = coalesce(lengths.stage_name, '')
    left join months on counted.cohort_month = months.month_start_date
    left join stages on counted.stage_name = stages.stage_name
)

select * from final
