{{ amounts_add_up() }}

with

quotas as (
    select * from {{ ref('fct_forecasting_quota') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(['owner_user_key', 'period_key']) }} as period_quota_key,
        owner_user_key,
        period_key,
        -- measures
        sum(quota_amount_converted) as quota_amount,
        sum(quota_quantity) as quota_quantity
    from quotas
    group by owner_user_key, period_key
)

select * from final
