with

forecasting_quotas as (
    select * from {{ ref('base_salesforce__forecasting_quota') }}
),

renamed as (
    select
        -- keys
        id as forecasting_quota_id,
        quota_owner_id as quota_owner_user_id,
        period_id,
        forecasting_type_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        is_amount,
        is_quantity,
        currency_iso_code,
        -- measures
        quota_amount,
        quota_quantity,
        -- dates
        start_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from forecasting_quotas
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
