with

calendar as (
    select * from {{ ref('dim_date') }}
),

-- From the first day whose pipeline is known to today.
bounds as (
    select
        min(date_day) as first_day,
        max({{ to_reporting_date(as_of()) }}) as last_day
    from {{ ref('int_opportunity_days') }}
),

periods as (
    select
        'Week' as period_type,
        iso_week as period_name,
        date_day,
        week_start_date as period_start_date,
        week_end_date as period_end_date
    from calendar
    union all
    select
        'Month' as period_type,
        month_name || ' FY ' || cast(fiscal_year as {{ engine_type('varchar') }}) as period_name,
        date_day,
        month_start_date as period_start_date,
        month_end_date as period_end_date
    from calendar
    union all
    select
        'Quarter' as period_type,
        'Q' || cast(fiscal_quarter as {{ engine_type('varchar') }}) || ' FY '
        || cast(fiscal_year as {{ engine_type('varchar') }}) as period_name,
        date_day,
        fiscal_quarter_start_date as period_start_date,
        cast(
            {{ dbt.dateadd('day', -1, dbt.dateadd('month', 3, 'fiscal_quarter_start_date')) }} as date
        ) as period_end_date
    from calendar
),

-- A day can only be compared with the one before it, so the first day is in no period.
met as (
    select
        periods.period_type,
        periods.period_name,
        periods.period_start_date,
        periods.period_end_date,
        min(periods.date_day) - 1 as opening_day,
        max(periods.date_day) as closing_day
    from periods
    cross join bounds
    where periods.date_day > bounds.first_day and periods.date_day <= bounds.last_day
    group by periods.period_type, periods.period_name, periods.period_start_date, periods.period_end_date
),

final as (
    select
        -- keys
        {{ surrogate_key(['met.period_type', date_key('met.period_start_date')]) }} as pipeline_period_key,
        -- what it is
        met.period_type,
        met.period_name,
        met.period_end_date < bounds.last_day as is_period_over,
        met.period_end_date >= bounds.last_day as is_latest,
        met.opening_day < met.period_start_date as is_whole,
        -- dates
        met.period_start_date,
        met.period_end_date,
        met.opening_day,
        met.closing_day
    from met
    cross join bounds
)

select * from final
