with

account_histories as (
    select * from {{ ref('base_salesforce__account_history') }}
),

renamed as (
    select
        -- keys
        id as account_history_id,
        account_id,
        {{ salesforce_field_change_columns() }},
        -- provenance
        _batch_id{{ pass_through() }}
    from account_histories
    where not coalesce(is_deleted, false)
)

select * from renamed
