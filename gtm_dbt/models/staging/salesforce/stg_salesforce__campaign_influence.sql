with

campaign_influences as (
    select * from {{ ref('base_salesforce__campaign_influence') }}
),

renamed as (
    select
        -- keys
        id as campaign_influence_id,
        campaign_id,
        opportunity_id,
        contact_id,
        model_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        currency_iso_code,
        -- measures
        influence,
        revenue_share,
        -- dates
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from campaign_influences
    where not coalesce(is_deleted, false)
)

select * from renamed
