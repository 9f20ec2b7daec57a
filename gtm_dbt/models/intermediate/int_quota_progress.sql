{{ amounts_add_up() }}

with

quotas as (
    select * from {{ ref('int_period_quotas') }}
    where quota_amount is not null
),

periods as (
    select * from {{ ref('dim_forecasting_period') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

-- The last days of weeks and months; a week or month under way ends today.
days as (
    select least(week_end_date, {{ to_reporting_date(as_of()) }}) as report_date
    from {{ ref('dim_date') }}
    where week_end_date is not null
    union
    select least(month_end_date, {{ to_reporting_date(as_of()) }}) as report_date
    from {{ ref('dim_date') }}
    where month_end_date is not null
),

ranked as (
    select
        days.report_date,
        quotas.owner_user_key,
        quotas.quota_amount,
        periods.period_key,
        periods.period_type,
        periods.start_date,
        periods.end_date,
        row_number() over (
            partition by days.report_date, quotas.owner_user_key
            order by {{ quota_period_order('periods') }}
        ) as rank_on_day
    from days
    inner join periods on days.report_date between periods.start_date and periods.end_date
    inner join quotas on periods.period_key = quotas.period_key
),

measured as (
    select
        ranked.report_date,
        ranked.owner_user_key,
        ranked.period_key,
        ranked.period_type,
        ranked.start_date,
        ranked.end_date,
        ranked.quota_amount,
        {{ total('sum(opportunities.amount_converted)') }} as booked_amount
    from ranked
    left join opportunities
        on
            ranked.owner_user_key = opportunities.owner_user_key
            and {{ is_booked_between('opportunities', 'ranked.start_date', 'ranked.report_date') }}
    where ranked.rank_on_day = 1
    group by
        ranked.report_date,
        ranked.owner_user_key,
        ranked.period_key,
        ranked.period_type,
        ranked.start_date,
        ranked.end_date,
        ranked.quota_amount
),

final as (
    select
        -- keys
        {{ surrogate_key(['owner_user_key', 'report_date']) }} as quota_progress_key,
        owner_user_key,
        period_key,
        -- what it is
        period_type,
        -- measures
        quota_amount,
        booked_amount,
        case when quota_amount > booked_amount then quota_amount - booked_amount else 0 end
            as remaining_quota_amount,
        -- dates
        report_date,
        start_date,
        end_date
    from measured
)

select * from final
