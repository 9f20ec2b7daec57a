with

quotas as (
    select * from {{ ref('int_period_quotas') }}
),

bookings as (
    select * from {{ ref('int_period_bookings') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

periods as (
    select * from {{ ref('dim_forecasting_period') }}
),

-- Owners with a quota, and owners with bookings in a period that has quotas, so that the owners of a period add up
-- to its bookings.
owners_and_periods as (
    select
        owner_user_key,
        period_key
    from quotas
    union
    select
        bookings.owner_user_key,
        bookings.period_key
    from bookings
    where
        bookings.bookings_count > 0
        and bookings.period_key in (select quotas.period_key from quotas)
),

measured as (
    select
        owners_and_periods.owner_user_key,
        owners_and_periods.period_key,
        {{ total('quotas.quota_amount') }} as quota_amount,
        coalesce(quotas.quota_quantity, 0) as quota_quantity,
        coalesce(bookings.bookings_count, 0) as bookings_count,
        {{ total('bookings.bookings_amount') }} as bookings_amount,
        {{ total('bookings.team_bookings_amount') }} as team_bookings_amount
    from owners_and_periods
    left join quotas
        on
            owners_and_periods.owner_user_key = quotas.owner_user_key
            and owners_and_periods.period_key = quotas.period_key
    left join bookings
        on
            owners_and_periods.owner_user_key = bookings.owner_user_key
            and owners_and_periods.period_key = bookings.period_key
),

final as (
    select
        -- keys
        {{ surrogate_key(['measured.owner_user_key', 'measured.period_key']) }} as quota_attainment_key,
        measured.owner_user_key,
        owners.user_id as owner_user_id,
        measured.period_key,
        -- what it is
        owners.user_name as owner_name,
        owners.manager_name,
        periods.period_name,
        periods.period_type,
        periods.start_date as period_start_date,
        periods.end_date as period_end_date,
        coalesce(periods.end_date < {{ to_reporting_date(as_of()) }}, false) as is_period_over,
        coalesce({{ to_reporting_date(as_of()) }} between periods.start_date and periods.end_date, false)
            as is_latest,
        -- measures
        {{ cents('measured.quota_amount') }} as quota_amount,
        measured.quota_quantity,
        measured.bookings_count,
        {{ cents('measured.bookings_amount') }} as bookings_amount,
        {{ cents('measured.team_bookings_amount') }} as team_bookings_amount,
        -- Null where the period is not known.
        case
            when periods.start_date is not null
                then {{ safe_divide('measured.bookings_amount', 'measured.quota_amount') }}
        end as attainment,
        case
            when periods.start_date is not null
                then {{ safe_divide('measured.team_bookings_amount', 'measured.quota_amount') }}
        end as team_attainment,
        {{ money('measured.quota_amount - measured.bookings_amount') }} as gap_amount,
        -- provenance
        owners.source_system
    from measured
    left join owners on measured.owner_user_key = owners.user_key
    left join periods on measured.period_key = periods.period_key
)

select * from final
