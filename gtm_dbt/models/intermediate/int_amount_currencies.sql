with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

deal_days as (
    select * from {{ ref('int_opportunity_days') }}
),

arr as (
    select * from {{ ref('int_opportunity_arr') }}
),

quotas as (
    select * from {{ ref('fct_forecasting_quota') }}
),

forecasts as (
    select * from {{ ref('fct_forecasting_item') }}
),

forecast_versions as (
    select * from {{ ref('int_forecasting_item_versions') }}
),

periods as (
    select * from {{ ref('dim_forecasting_period') }}
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

campaigns as (
    select * from {{ ref('dim_campaign') }}
),

-- Earlier forecasts, which have been deleted or have another amount by now.
past_forecasts as (
    select
        forecast_versions.currency_iso_code,
        forecast_versions.forecast_amount,
        {{ converted('forecast_versions.forecast_amount', 'forecast_versions.currency_iso_code', 'rates.rate') }}
            as forecast_amount_converted
    from forecast_versions
    inner join periods on forecast_versions.period_id = periods.period_id
    left join rates on {{ rate_in_force('rates', 'forecast_versions.currency_iso_code', 'periods.start_date') }}
    where not forecast_versions.is_deleted
),

amounts as (
    select
        'opportunities' as amounts_of,
        currency_iso_code,
        amount,
        amount_converted
    from opportunities
    union all
    select
        'days of opportunities' as amounts_of,
        currency_iso_code,
        amount,
        amount_converted
    from deal_days
    union all
    select
        'ARR gained' as amounts_of,
        currency_iso_code,
        gained_arr as amount,
        gained_arr_converted as amount_converted
    from arr
    union all
    select
        'ARR lost' as amounts_of,
        currency_iso_code,
        lost_arr as amount,
        lost_arr_converted as amount_converted
    from arr
    union all
    select
        'quotas' as amounts_of,
        currency_iso_code,
        quota_amount as amount,
        quota_amount_converted as amount_converted
    from quotas
    union all
    -- No report adds amounts of a period that is not known.
    select
        'forecasts' as amounts_of,
        currency_iso_code,
        forecast_amount as amount,
        forecast_amount_converted as amount_converted
    from forecasts
    where period_key <> {{ unknown_key() }}
    union all
    select
        'past forecasts' as amounts_of,
        currency_iso_code,
        forecast_amount as amount,
        forecast_amount_converted as amount_converted
    from past_forecasts
    union all
    select
        'campaign budgets' as amounts_of,
        currency_iso_code,
        budgeted_cost as amount,
        budgeted_cost_converted as amount_converted
    from campaigns
    union all
    select
        'campaign costs' as amounts_of,
        currency_iso_code,
        actual_cost as amount,
        actual_cost_converted as amount_converted
    from campaigns
),

final as (
    select
        -- keys
        {{ surrogate_key(['amounts_of', 'currency_iso_code']) }} as amount_currency_key,
        -- what it is
        amounts_of,
        currency_iso_code,
        -- measures
        count(*) as amount_count,
        count(case when amount_converted is null then 1 end) as amount_without_rate_count
    from amounts
    -- A record has no currency where the org has only one.
    where amount is not null and currency_iso_code is not null
    group by amounts_of, currency_iso_code
)

select * from final
