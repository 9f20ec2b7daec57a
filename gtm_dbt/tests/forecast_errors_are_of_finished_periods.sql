-- An error is what was forecast less what came, and nobody knows it before the period is over. Each of the three
-- is rounded for itself, by half a cent at most: together that moves one cent.
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
