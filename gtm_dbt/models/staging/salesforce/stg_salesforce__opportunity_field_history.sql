with

opportunity_field_histories as (
    select * from {{ ref('base_salesforce__opportunity_field_history') }}
),

renamed as (
    select
        -- keys
        id as opportunity_field_history_id,
        opportunity_id,
        created_by_id as created_by_user_id,
        -- what it is
        field as field_name,
        data_type as field_data_type,
        old_value,
        new_value,
        -- dates
        created_date as created_at,
        -- provenance
        _batch_id{{ pass_through() }}
    from opportunity_field_histories
    where not coalesce(is_deleted, false)
)

select * from renamed
