with

campaigns as (
    select * from {{ ref('base_salesforce__campaign') }}
),

renamed as (
    select
        -- keys
        id as campaign_id,
        parent_id as parent_campaign_id,
        owner_id as owner_user_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as campaign_name,
        type as campaign_type,
        status as campaign_status,
        is_active,
        description,
        currency_iso_code,
        -- measures
        budgeted_cost,
        actual_cost,
        expected_revenue,
        expected_response,
        number_sent,
        -- dates
        start_date,
        end_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from campaigns
    where not coalesce(is_deleted, false)
)

select * from renamed
