with

opportunity_contact_roles as (
    select * from {{ ref('base_salesforce__opportunity_contact_role') }}
),

renamed as (
    select
        -- keys
        id as opportunity_contact_role_id,
        opportunity_id,
        contact_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        role,
        is_primary,
        -- dates
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from opportunity_contact_roles
    where not coalesce(is_deleted, false)
)

select * from renamed
