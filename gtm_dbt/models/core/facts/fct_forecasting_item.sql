with

forecasts as (
    select * from {{ ref('stg_salesforce__forecasting_item') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

periods as (
    select * from {{ ref('dim_forecasting_period') }}
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

final as (
    select
        -- keys
        forecasts.forecasting_item_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        forecasts.owner_user_id,
        coalesce(periods.period_key, {{ unknown_key() }}) as period_key,
        forecasts.period_id,
        forecasts.forecasting_type_id,
        forecasts.parent_forecasting_item_id,
        {{ date_key('periods.start_date') }} as start_date_key,
        -- what it is
        forecasts.forecast_category,
        forecasts.forecast_category_name,
        coalesce(forecasts.has_adjustment, false) as has_adjustment,
        forecasts.currency_iso_code,
        -- measures, in the record's currency
        forecasts.forecast_amount,
        forecasts.amount_without_adjustments,
        forecasts.owner_only_amount,
        -- measures, in the reporting currency
        {{ converted('forecasts.forecast_amount', 'forecasts.currency_iso_code', 'rates.rate') }}
            as forecast_amount_converted,
        -- measures
        forecasts.forecast_quantity,
        -- provenance
        'salesforce' as source_system{{ pass_through('forecasts') }}
    from forecasts
    left join users on forecasts.owner_user_id = users.user_id
    left join periods on forecasts.period_id = periods.period_id
    left join rates on {{ rate_in_force('rates', 'forecasts.currency_iso_code', 'periods.start_date') }}
)

select * from final
