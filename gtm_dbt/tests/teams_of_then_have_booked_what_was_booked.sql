-- In a period with quotas the direct teams of then, and owners who had no manager, have booked all that was won
-- with a close date in it, as often and to the cent up to the rounding of the rows.
{{ config(meta={'dagster': {'ref': {'name': 'rep_team_attainment'}}}) }}

with

teams as (
    select
        period_key,
        sum(direct_bookings_count) as bookings_count,
        sum(direct_bookings_amount) as bookings_amount,
        count(*) * 0.005 as rounding
    from {{ ref('rep_team_attainment') }}
    group by period_key
),

booked as (
    select
        teams.period_key,
        count(opportunities.opportunity_id) as bookings_count,
        {{ total('sum(opportunities.amount_converted)') }} as bookings_amount
    from teams
    inner join {{ ref('dim_forecasting_period') }} as periods on teams.period_key = periods.period_key
    left join {{ ref('fct_opportunity') }} as opportunities
        on {{ is_booked_between('opportunities', 'periods.start_date', 'periods.end_date') }}
    group by teams.period_key
)

select
    teams.period_key,
    teams.bookings_count,
    booked.bookings_count as bookings_count_of_core,
    teams.bookings_amount,
    booked.bookings_amount as bookings_amount_of_core
from teams
inner join booked on teams.period_key = booked.period_key
where
    teams.bookings_count <> booked.bookings_count
    or abs(teams.bookings_amount - booked.bookings_amount) > teams.rounding
