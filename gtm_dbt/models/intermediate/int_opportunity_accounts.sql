with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

days as (
    select * from {{ ref('fct_opportunity_history') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

last_days as (
    select
        opportunity_id,
        account_id,
        row_number() over (partition by opportunity_id order by date_day desc) as days_from_last
    from days
),

final as (
    select
        -- keys
        last_days.opportunity_id,
        coalesce(opportunities.account_key, account_versions.account_key, {{ unknown_key() }}) as account_key
    from last_days
    left join opportunities on last_days.opportunity_id = opportunities.opportunity_id
    left join account_versions
        on last_days.account_id = account_versions.account_id and account_versions.is_current
    where last_days.days_from_last = 1
)

select * from final
