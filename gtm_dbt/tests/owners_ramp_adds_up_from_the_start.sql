-- The months of an owner since the start have all opportunities won and created from that month on, once each, up
-- to the month of as_of.
{{ config(meta={'dagster': {'ref': {'name': 'rep_owner_ramp'}}}) }}

with

latest as (
    select month_end_date from {{ ref('int_months') }}
    where is_latest
),

owners as (
    select
        ramp.owner_user_key,
        cast({{ dbt.date_trunc('month', 'min(ramp.start_date)') }} as date) as first_month,
        max(latest.month_end_date) as last_day,
        sum(ramp.won_count) as won_count,
        sum(ramp.opportunities_created_count) as created_count
    from {{ ref('rep_owner_ramp') }} as ramp
    cross join latest
    group by ramp.owner_user_key
),

opportunities as (
    select
        owners.owner_user_key,
        count(
            case
                when
                    facts.is_won
                    and facts.close_date >= owners.first_month
                    and facts.close_date <= owners.last_day
                    then 1
            end
        ) as won_count,
        count(
            case
                when
                    facts.created_date >= owners.first_month
                    and facts.created_date <= owners.last_day
                    then 1
            end
        ) as created_count
    from owners
    left join {{ ref('fct_opportunity') }} as facts on owners.owner_user_key = facts.owner_user_key
    group by owners.owner_user_key
)

select
    owners.owner_user_key,
    owners.won_count,
    opportunities.won_count as won_count_of_core,
    owners.created_count,
    opportunities.created_count as created_count_of_core
from owners
inner join opportunities on owners.owner_user_key = opportunities.owner_user_key
where owners.won_count <> opportunities.won_count or owners.created_count <> opportunities.created_count
