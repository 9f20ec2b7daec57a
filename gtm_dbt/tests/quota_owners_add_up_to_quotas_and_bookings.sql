-- A period's owners add up to its quotas and to the opportunities won in it, each owner's sum rounded once.
{{ config(meta={'dagster': {'ref': {'name': 'rep_quota_attainment'}}}) }}

with

reported as (
    select
        period_key,
        sum(quota_amount) as quota_amount,
        sum(bookings_amount) as bookings_amount
    from {{ ref('rep_quota_attainment') }}
    group by period_key
),

quotas_by_owner as (
    select
        period_key,
        {{ money('sum(quota_amount_converted)') }} as quota_amount
    from {{ ref('fct_forecasting_quota') }}
    group by period_key, owner_user_key
),

quotas as (
    select
        period_key,
        sum(quota_amount) as quota_amount
    from quotas_by_owner
    group by period_key
),

bookings_by_owner as (
    select
        periods.period_key,
        {{ money('sum(opportunities.amount_converted)') }} as bookings_amount
    from {{ ref('dim_forecasting_period') }} as periods
    left join {{ ref('fct_opportunity') }} as opportunities
        on
            opportunities.is_won
            and opportunities.close_date between periods.start_date and periods.end_date
    group by periods.period_key, opportunities.owner_user_key
),

bookings as (
    select
        period_key,
        sum(bookings_amount) as bookings_amount
    from bookings_by_owner
    group by period_key
)

select
    quotas.period_key,
    quotas.quota_amount,
    bookings.bookings_amount,
    reported.quota_amount as reported_quota_amount,
    reported.bookings_amount as reported_bookings_amount
from quotas
left join bookings on quotas.period_key = bookings.period_key
left join reported on quotas.period_key = reported.period_key
where
    reported.quota_amount is distinct from quotas.quota_amount
    or reported.bookings_amount is distinct from bookings.bookings_amount
