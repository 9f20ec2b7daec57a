{{ amounts_add_up() }}

with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
    where is_won
),

quotas as (
    select * from {{ ref('int_period_quotas') }}
),

periods as (
    select
        *,
        least(end_date, {{ to_reporting_date(as_of()) }}) as last_day
    from {{ ref('dim_forecasting_period') }}
    where period_key in (select quotas.period_key from quotas) and start_date is not null
),

reporting_lines as (
    select * from {{ ref('int_reporting_lines') }}
),

bookings_of_now as (
    select * from {{ ref('int_period_bookings') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

-- A booking is its owner's, and that of all to whom the owner reported on the close date.
credited as (
    select
        reporting_lines.manager_user_key,
        opportunities.close_date,
        opportunities.amount_converted,
        reporting_lines.is_direct,
        false as is_own
    from opportunities
    inner join reporting_lines
        on
            opportunities.owner_user_key = reporting_lines.user_key
            and opportunities.close_date = reporting_lines.line_date
    union all
    select
        owner_user_key as manager_user_key,
        close_date,
        amount_converted,
        false as is_direct,
        true as is_own
    from opportunities
),

booked as (
    select
        credited.manager_user_key,
        periods.period_key,
        count(case when credited.is_direct then 1 end) as direct_bookings_count,
        sum(case when credited.is_direct then credited.amount_converted end) as direct_bookings_amount,
        count(*) as team_bookings_count,
        sum(credited.amount_converted) as team_bookings_amount
    from credited
    inner join periods on credited.close_date between periods.start_date and periods.end_date
    group by credited.manager_user_key, periods.period_key
    having count(case when not credited.is_own then 1 end) > 0
),

-- The team's quotas are those of the members on the last day of the period, or today.
quotas_of_members as (
    select
        reporting_lines.manager_user_key,
        periods.period_key,
        sum(quotas.quota_amount) as members_quota_amount
    from quotas
    inner join periods on quotas.period_key = periods.period_key
    inner join reporting_lines
        on
            quotas.owner_user_key = reporting_lines.user_key
            and periods.last_day = reporting_lines.line_date
    group by reporting_lines.manager_user_key, periods.period_key
),

managers_and_periods as (
    select
        manager_user_key,
        period_key
    from booked
    union
    select
        manager_user_key,
        period_key
    from quotas_of_members
),

measured as (
    select
        managers_and_periods.manager_user_key,
        managers_and_periods.period_key,
        {{ total('quotas.quota_amount') }} as own_quota_amount,
        {{ total('quotas_of_members.members_quota_amount') }} as members_quota_amount,
        coalesce(booked.direct_bookings_count, 0) as direct_bookings_count,
        {{ total('booked.direct_bookings_amount') }} as direct_bookings_amount,
        coalesce(booked.team_bookings_count, 0) as team_bookings_count,
        {{ total('booked.team_bookings_amount') }} as team_bookings_amount,
        {{ total('bookings_of_now.team_bookings_amount') }} as team_bookings_amount_of_now
    from managers_and_periods
    left join quotas
        on
            managers_and_periods.manager_user_key = quotas.owner_user_key
            and managers_and_periods.period_key = quotas.period_key
    left join quotas_of_members
        on
            managers_and_periods.manager_user_key = quotas_of_members.manager_user_key
            and managers_and_periods.period_key = quotas_of_members.period_key
    left join booked
        on
            managers_and_periods.manager_user_key = booked.manager_user_key
            and managers_and_periods.period_key = booked.period_key
    left join bookings_of_now
        on
            managers_and_periods.manager_user_key = bookings_of_now.owner_user_key
            and managers_and_periods.period_key = bookings_of_now.period_key
),

with_quota as (
    select
        *,
        case when own_quota_amount <> 0 then own_quota_amount else members_quota_amount end as team_quota_amount
    from measured
),

final as (
    select
        -- keys
        {{ surrogate_key(['measured.manager_user_key', 'measured.period_key']) }} as team_attainment_key,
        measured.manager_user_key,
        users.user_id as manager_user_id,
        measured.period_key,
        -- what it is
        case when users.user_key is null then 'No manager' else users.user_name end as manager_name,
        periods.period_name,
        periods.period_type,
        periods.start_date as period_start_date,
        periods.end_date as period_end_date,
        periods.end_date < {{ to_reporting_date(as_of()) }} as is_period_over,
        {{ to_reporting_date(as_of()) }} between periods.start_date and periods.end_date as is_latest,
        -- measures
        {{ cents('measured.own_quota_amount') }} as own_quota_amount,
        {{ cents('measured.members_quota_amount') }} as members_quota_amount,
        {{ cents('measured.team_quota_amount') }} as team_quota_amount,
        measured.direct_bookings_count,
        {{ cents('measured.direct_bookings_amount') }} as direct_bookings_amount,
        measured.team_bookings_count,
        {{ cents('measured.team_bookings_amount') }} as team_bookings_amount,
        {{ safe_divide('measured.team_bookings_amount', 'measured.team_quota_amount') }} as team_attainment,
        case
            when users.user_key is not null then {{ cents('measured.team_bookings_amount_of_now') }}
        end as team_bookings_amount_of_now,
        -- provenance
        coalesce(users.source_system, {{ unknown_key() }}) as source_system
    from with_quota as measured
    inner join periods on measured.period_key = periods.period_key
    left join users on measured.manager_user_key = users.user_key
)

select * from final
