with

calendar as (
    select * from {{ ref('dim_date') }}
),

today as (
    select {{ to_reporting_date(as_of()) }} as as_of_date
),

months as (
    select
        month_start_date,
        month_end_date,
        fiscal_year,
        fiscal_quarter,
        fiscal_quarter_name
    from calendar
    group by month_start_date, month_end_date, fiscal_year, fiscal_quarter, fiscal_quarter_name
),

final as (
    select
        -- what it is
        months.month_start_date,
        months.fiscal_year,
        months.fiscal_quarter,
        months.fiscal_quarter_name,
        months.month_end_date < today.as_of_date as is_month_over,
        today.as_of_date between months.month_start_date and months.month_end_date as is_latest,
        -- dates
        months.month_end_date,
        -- The month under way ends today.
        least(months.month_end_date, today.as_of_date) as last_day
    from months
    cross join today
    where months.month_start_date <= today.as_of_date
)

select * from final
