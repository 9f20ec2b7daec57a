with

accounts as (
    select * from {{ ref('base_salesforce__account') }}
),

renamed as (
    select
        -- keys
        id as account_id,
        {{ salesforce_account_columns() }},
        -- provenance
        _batch_id{{ pass_through() }}
    from accounts
    where not coalesce(is_deleted, false)
)

select * from renamed
