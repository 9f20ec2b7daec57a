{{ amounts_add_up() }}

with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

periods as (
    select * from {{ ref('dim_forecasting_period') }}
),

teams as (
    select * from {{ ref('int_user_teams') }}
),

own_bookings as (
    select
        opportunities.owner_user_key,
        periods.period_key,
        count(*) as bookings_count,
        {{ total('sum(opportunities.amount_converted)') }} as bookings_amount
    from opportunities
    inner join periods on {{ is_booked_between('opportunities', 'periods.start_date', 'periods.end_date') }}
    group by opportunities.owner_user_key, periods.period_key
),

-- A booking counts for its owner and for every manager above the owner.
credited as (
    select
        owner_user_key,
        period_key,
        bookings_count,
        bookings_amount,
        bookings_count as team_bookings_count,
        bookings_amount as team_bookings_amount
    from own_bookings
    union all
    select
        teams.manager_user_key as owner_user_key,
        own_bookings.period_key,
        0 as bookings_count,
        0 as bookings_amount,
        own_bookings.bookings_count as team_bookings_count,
        own_bookings.bookings_amount as team_bookings_amount
    from own_bookings
    inner join teams on own_bookings.owner_user_key = teams.member_user_key
    where teams.manager_user_key <> {{ no_manager_key() }}
),

final as (
    select
        -- keys
        {{ surrogate_key(['owner_user_key', 'period_key']) }} as period_bookings_key,
        owner_user_key,
        period_key,
        -- measures
        cast(sum(bookings_count) as bigint) as bookings_count,
        {{ total('sum(bookings_amount)') }} as bookings_amount,
        cast(sum(team_bookings_count) as bigint) as team_bookings_count,
        {{ total('sum(team_bookings_amount)') }} as team_bookings_amount
    from credited
    group by owner_user_key, period_key
)

select * from final
