-- The error is the forecast less the actual amount, and is known only once the period is over. Each of the three
-- is rounded on its own, by half a cent at most, so that together they may differ by one cent.
{{ config(meta={'dagster': {'ref': {'name': 'rep_forecast_accuracy'}}}) }}

select
    forecast_accuracy_key,
    is_period_over,
    forecast_amount,
    actual_amount,
    error_amount,
    absolute_error_amount
from {{ ref('rep_forecast_accuracy') }}
where
    is_period_over <> (error_amount is not null)
    or abs(error_amount - (forecast_amount - actual_amount)) > 0.01
    or absolute_error_amount <> abs(error_amount)
    or forecast_date not between period_start_date and period_end_date
    or {{ dbt.datediff('forecast_date', 'period_end_date', 'day') }} <> 7 * weeks_before_end
