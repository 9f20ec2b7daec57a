{{ amounts_add_up() }}

with

versions as (
    select * from {{ ref('int_forecasting_item_versions') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

periods as (
    select * from {{ ref('dim_forecasting_period') }}
),

days as (
    select * from {{ ref('dim_date') }}
),

bookings as (
    select * from {{ ref('int_period_bookings') }}
),

states as (
    {{ one_at_a_time('versions', 'forecasting_item_id') }}
),

forecast_history as (
    select
        states.*,
        states.system_modstamp as valid_from,
        lead(states.system_modstamp) over (
            partition by states.forecasting_item_id
            order by states.system_modstamp
        ) as valid_to
    from states
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

-- The last day of the period and every seventh day before it, up to today.
weeks as (
    select
        periods.period_id,
        periods.period_key,
        periods.period_name,
        periods.period_type,
        periods.start_date,
        periods.end_date,
        periods.end_date < {{ to_reporting_date(as_of()) }} as is_period_over,
        days.date_day as forecast_date,
        {{ end_of_reporting_day('days.date_day') }} as forecast_at,
        {{ dbt.datediff('days.date_day', 'periods.end_date', 'day') }} / 7 as weeks_before_end
    from periods
    inner join days on days.date_day between periods.start_date and periods.end_date
    where
        {{ dbt.datediff('days.date_day', 'periods.end_date', 'day') }} % 7 = 0
        and days.date_day <= {{ to_reporting_date(as_of()) }}
),

-- The forecasts that were in force at the end of those days.
forecasts_in_force as (
    select
        weeks.period_key,
        weeks.period_name,
        weeks.period_type,
        weeks.start_date,
        weeks.end_date,
        weeks.is_period_over,
        weeks.forecast_date,
        cast(weeks.weeks_before_end as integer) as weeks_before_end,
        coalesce(owners.user_key, {{ unknown_key() }}) as owner_user_key,
        coalesce(forecast_history.forecasting_type_id, {{ unknown_key() }}) as forecasting_type_id,
        coalesce(forecast_history.forecast_category, {{ unknown_key() }}) as forecast_category,
        -- A surer category has a smaller number. A category whose amount holds the surer ones already has none.
        case forecast_history.forecast_category
            when 'ClosedOnly' then 1
            when 'CommitOnly' then 2
            when 'MostLikelyOnly' then 3
            when 'BestCaseOnly' then 4
            when 'PipelineOnly' then 5
        end as category_order,
        {{
            converted('forecast_history.forecast_amount', 'forecast_history.currency_iso_code', 'rates.rate')
        }} as forecast_amount
    from weeks
    inner join forecast_history
        on
            weeks.period_id = forecast_history.period_id
            and {{ version_in_force('forecast_history', 'weeks.forecast_at') }}
    left join owners on forecast_history.owner_user_id = owners.user_id
    left join rates
        on {{ rate_in_force('rates', 'forecast_history.currency_iso_code', 'weeks.start_date') }}
    where not forecast_history.is_deleted
),

forecasts as (
    select
        period_key,
        period_name,
        period_type,
        start_date,
        end_date,
        is_period_over,
        forecast_date,
        weeks_before_end,
        owner_user_key,
        forecasting_type_id,
        forecast_category,
        category_order,
        {{ total('sum(forecast_amount)') }} as category_amount
    from forecasts_in_force
    group by
        period_key,
        period_name,
        period_type,
        start_date,
        end_date,
        is_period_over,
        forecast_date,
        weeks_before_end,
        owner_user_key,
        forecasting_type_id,
        forecast_category,
        category_order
),

-- A category's forecast is its own amount plus those of the surer categories: commit includes closed.
expected as (
    select
        forecasts.*,
        case
            when forecasts.category_order is null then forecasts.category_amount
            else
                sum(case when forecasts.category_order is not null then forecasts.category_amount end) over (
                    partition by
                        forecasts.owner_user_key,
                        forecasts.period_key,
                        forecasts.forecasting_type_id,
                        forecasts.weeks_before_end
                    order by forecasts.category_order nulls first
                    rows between unbounded preceding and current row
                )
        end as forecast_amount
    from forecasts
),

compared as (
    select
        expected.*,
        coalesce(bookings.team_bookings_amount, 0) as actual_amount,
        case
            when expected.is_period_over
                then expected.forecast_amount - coalesce(bookings.team_bookings_amount, 0)
        end as error_amount
    from expected
    left join bookings
        on expected.owner_user_key = bookings.owner_user_key and expected.period_key = bookings.period_key
),

final as (
    select
        -- keys
        {{
            surrogate_key([
                'compared.owner_user_key', 'compared.period_key', 'compared.forecasting_type_id',
                'compared.forecast_category', 'compared.weeks_before_end',
            ])
        }} as forecast_accuracy_key,
        compared.owner_user_key,
        owners.user_id as owner_user_id,
        compared.period_key,
        compared.forecasting_type_id,
        -- what it is
        owners.user_name as owner_name,
        compared.period_name,
        compared.period_type,
        compared.start_date as period_start_date,
        compared.end_date as period_end_date,
        compared.is_period_over,
        {{ to_reporting_date(as_of()) }} between compared.start_date and compared.end_date as is_latest,
        compared.forecast_category,
        compared.weeks_before_end,
        compared.forecast_date,
        -- measures
        {{ cents('compared.category_amount') }} as category_amount,
        {{ money('compared.forecast_amount') }} as forecast_amount,
        {{ money('compared.actual_amount') }} as actual_amount,
        {{ cents('compared.error_amount') }} as error_amount,
        {{ cents('abs(compared.error_amount)') }} as absolute_error_amount,
        {{ safe_divide('compared.error_amount', 'abs(compared.actual_amount)') }} as bias,
        {{ safe_divide('abs(compared.error_amount)', 'abs(compared.actual_amount)') }} as absolute_error_rate,
        -- provenance
        owners.source_system
    from compared
    left join owners on compared.owner_user_key = owners.user_key
)

select * from final
