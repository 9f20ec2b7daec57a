with

user_roles as (
    select * from {{ ref('base_salesforce__user_role') }}
),

renamed as (
    select
        -- keys
        id as user_role_id,
        parent_role_id,
        forecast_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as user_role_name,
        developer_name as user_role_api_name,
        rollup_description,
        -- dates
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from user_roles
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
