{% set fiscal_offset = var('fiscal_year_start_month') | int - 1 %}

with

holidays as (
    select * from {{ ref('us_holidays') }}
),

dates_of_sources as (
    {{ union_of_sources('date') }}
),

dates_met as (
    select date_day from dates_of_sources
    union
    select {{ to_reporting_date(as_of()) }} as date_day
),

-- A mistyped year (2206) gets a single day, not two hundred years of days.
bounds as (
    select
        cast({{ dbt.date_trunc('year', 'min(date_day)') }} as date) as first_day,
        cast({{ dbt.dateadd('day', -1, dbt.dateadd('year', 1, dbt.date_trunc('year', 'max(date_day)'))) }} as date)
            as last_day
    from dates_met
    where date_day between cast('1990-01-01' as date) and cast('2099-12-31' as date)
),

all_dates as (
    {{ date_spine('(select first_day from bounds)', '(select last_day from bounds)') }}
    union
    select date_day
    from dates_met
    where date_day is not null
),

calendar as (
    select
        date_day,
        cast({{ dbt.date_trunc('month', 'date_day') }} as date) as month_start_date,
        cast({{ dbt.date_trunc('quarter', 'date_day') }} as date) as quarter_start_date,
        cast({{ dbt.date_trunc('year', 'date_day') }} as date) as year_start_date,
        cast({{ dbt.date_trunc('week', 'date_day') }} as date) as week_start_date,
        cast(extract(week from date_day) as integer) as iso_week_of_year,
        -- An ISO week belongs to the year of its Thursday.
        cast(extract(year from {{ dbt.dateadd('day', 3, dbt.date_trunc('week', 'date_day')) }}) as integer)
            as iso_year,
        -- The month at the same place in the calendar year as the fiscal month in its year.
        cast({{ dbt.dateadd('month', -fiscal_offset, dbt.date_trunc('month', 'date_day')) }} as date)
            as fiscal_month,
        {{ iso_day_of_week('date_day') }} as day_of_week
    from all_dates
),

-- A fiscal year is named after the calendar year in which it ends.
in_fiscal_years as (
    select
        *,
        cast(extract(year from fiscal_month) as integer) + {{ 1 if fiscal_offset else 0 }} as fiscal_year,
        cast(extract(quarter from fiscal_month) as integer) as fiscal_quarter
    from calendar
),

final as (
    select
        -- keys
        {{ date_key('calendar.date_day') }} as date_key,
        calendar.date_day,
        -- calendar
        cast(extract(year from calendar.date_day) as integer) as year_number,
        cast(extract(quarter from calendar.date_day) as integer) as quarter_of_year,
        cast(extract(month from calendar.date_day) as integer) as month_of_year,
        calendar.iso_year,
        calendar.iso_week_of_year,
        {{ iso_week('calendar.iso_year', 'calendar.iso_week_of_year') }} as iso_week,
        cast(extract(day from calendar.date_day) as integer) as day_of_month,
        cast(extract(doy from calendar.date_day) as integer) as day_of_year,
        calendar.day_of_week,
        {{ month_name('calendar.date_day') }} as month_name,
        {{ day_name('calendar.day_of_week') }} as day_name,
        calendar.week_start_date,
        cast({{ dbt.dateadd('day', 6, 'calendar.week_start_date') }} as date) as week_end_date,
        calendar.month_start_date,
        cast({{ dbt.last_day('calendar.date_day', 'month') }} as date) as month_end_date,
        calendar.quarter_start_date,
        cast({{ dbt.last_day('calendar.date_day', 'quarter') }} as date) as quarter_end_date,
        calendar.year_start_date,
        -- fiscal
        calendar.fiscal_year,
        calendar.fiscal_quarter,
        {{ fiscal_quarter_name('calendar.fiscal_year', 'calendar.fiscal_quarter') }} as fiscal_quarter_name,
        cast(extract(month from calendar.fiscal_month) as integer) as fiscal_month_of_year,
        cast(
            {{ dbt.dateadd('month', fiscal_offset, dbt.date_trunc('quarter', 'calendar.fiscal_month')) }} as date
        ) as fiscal_quarter_start_date,
        cast(
            {{ dbt.dateadd('month', fiscal_offset, dbt.date_trunc('year', 'calendar.fiscal_month')) }} as date
        ) as fiscal_year_start_date,
        -- what it is
        holidays.holiday_name,
        calendar.day_of_week >= 6 as is_weekend,
        holidays.holiday_date is not null as is_holiday,
        calendar.day_of_week < 6 and holidays.holiday_date is null as is_business_day,
        -- provenance
        'calendar' as source_system
    from in_fiscal_years as calendar
    left join holidays on calendar.date_day = holidays.holiday_date
),

with_unknown as (
    {{ with_unknown_member('final', {'date_key': unknown_date_key(), 'source_system': unknown_key()}) }}
)

select * from with_unknown
