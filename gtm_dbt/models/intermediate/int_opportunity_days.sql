with

deals_by_day as (
    select * from {{ ref('fct_opportunity_history') }}
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

converted as (
    select
        deals_by_day.*,
        {{ converted('deals_by_day.amount', 'deals_by_day.currency_iso_code', 'rates.rate') }} as amount_converted
    from deals_by_day
    left join rates on {{ rate_in_force('rates', 'deals_by_day.currency_iso_code', 'deals_by_day.close_date') }}
),

final as (
    select
        -- keys
        opportunity_day_key,
        opportunity_id,
        date_key,
        owner_user_key,
        -- what it is
        stage_name,
        forecast_category,
        is_won,
        is_closed,
        is_open_pipeline,
        is_observed,
        currency_iso_code,
        -- measures
        amount,
        amount_converted,
        {{ weighted_amount('amount_converted', 'probability') }} as weighted_amount_converted,
        -- dates
        date_day,
        close_date,
        last_activity_date,
        created_date,
        -- provenance
        source_system
    from converted
)

select * from final
