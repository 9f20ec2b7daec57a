with

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

accounts as (
    select * from {{ ref('dim_account') }}
),

final as (
    select
        -- keys
        account_versions.account_key,
        coalesce(accounts.account_id, {{ unknown_key() }}) as account_id
    from account_versions
    left join accounts on account_versions.account_id = accounts.account_id
)

select * from final
