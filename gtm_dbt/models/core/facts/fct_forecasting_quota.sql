with

quotas as (
    select * from {{ ref('stg_salesforce__forecasting_quota') }}
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
        quotas.forecasting_quota_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        quotas.quota_owner_user_id as owner_user_id,
        coalesce(periods.period_key, {{ unknown_key() }}) as period_key,
        quotas.period_id,
        quotas.forecasting_type_id,
        {{ date_key('quotas.start_date') }} as start_date_key,
        -- what it is
        coalesce(quotas.is_amount, false) as is_amount,
        coalesce(quotas.is_quantity, false) as is_quantity,
        quotas.currency_iso_code,
        -- measures, in the record's currency
        quotas.quota_amount,
        -- measures, in the reporting currency
        {{ converted('quotas.quota_amount', 'quotas.currency_iso_code', 'rates.rate') }} as quota_amount_converted,
        -- measures
        quotas.quota_quantity,
        -- dates
        quotas.start_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('quotas') }}
    from quotas
    left join users on quotas.quota_owner_user_id = users.user_id
    left join periods on quotas.period_id = periods.period_id
    left join rates on {{ rate_in_force('rates', 'quotas.currency_iso_code', 'quotas.start_date') }}
)

select * from final
