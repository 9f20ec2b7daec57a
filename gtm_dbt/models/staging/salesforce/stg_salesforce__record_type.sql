with

record_types as (
    select * from {{ ref('base_salesforce__record_type') }}
),

renamed as (
    select
        -- keys
        id as record_type_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as record_type_name,
        developer_name as record_type_api_name,
        sobject_type,
        description,
        is_active,
        -- dates
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from record_types
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
