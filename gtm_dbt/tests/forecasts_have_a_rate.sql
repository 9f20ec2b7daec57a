-- Each amount that somebody ever forecast has a rate, where amounts are converted: the report would show 0 for it.
{{ config(meta={'dagster': {'ref': {'name': 'int_forecasting_item_versions'}}}) }}

with

converted as (
    select
        versions.forecasting_item_id,
        versions.currency_iso_code,
        periods.start_date,
        versions.forecast_amount,
        {{ converted('versions.forecast_amount', 'versions.currency_iso_code', 'rates.rate') }} as amount_converted
    from {{ ref('int_forecasting_item_versions') }} as versions
    inner join {{ ref('dim_forecasting_period') }} as periods on versions.period_id = periods.period_id
    left join {{ ref('int_currency_rates') }} as rates
        on {{ rate_in_force('rates', 'versions.currency_iso_code', 'periods.start_date') }}
    where not versions.is_deleted
)

select
    forecasting_item_id,
    currency_iso_code,
    start_date,
    forecast_amount
from converted
where forecast_amount is not null and amount_converted is null
