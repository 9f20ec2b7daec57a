with

opportunity_stages as (
    select * from {{ ref('base_salesforce__opportunity_stage') }}
),

renamed as (
    select
        -- keys
        id as opportunity_stage_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        api_name as stage_api_name,
        master_label as stage_name,
        forecast_category,
        forecast_category_name,
        is_active,
        is_closed,
        is_won,
        description,
        -- measures
        sort_order,
        default_probability,
        -- dates
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from opportunity_stages
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
