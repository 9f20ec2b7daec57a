with

campaign_members as (
    select * from {{ ref('base_salesforce__campaign_member') }}
),

renamed as (
    select
        -- keys
        id as campaign_member_id,
        campaign_id,
        lead_id,
        contact_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        status as campaign_member_status,
        has_responded,
        -- dates
        first_responded_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from campaign_members
    where not coalesce(is_deleted, false)
)

select * from renamed
