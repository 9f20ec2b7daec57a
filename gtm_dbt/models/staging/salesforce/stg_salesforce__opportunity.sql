with

opportunities as (
    select * from {{ ref('base_salesforce__opportunity') }}
),

renamed as (
    select
        -- keys
        id as opportunity_id,
        account_id,
        owner_id as owner_user_id,
        contact_id,
        campaign_id,
        pricebook_2_id as pricebook_id,
        record_type_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as opportunity_name,
        description,
        type as opportunity_type,
        lead_source,
        stage_name,
        forecast_category,
        forecast_category_name,
        is_closed,
        is_won,
        next_step,
        loss_reason_c,
        currency_iso_code,
        -- measures
        probability,
        amount,
        expected_revenue,
        total_opportunity_quantity,
        arr_c,
        arr_churn_c,
        fiscal_quarter,
        fiscal_year,
        -- dates
        close_date,
        last_activity_date,
        last_stage_change_date as last_stage_changed_at,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from opportunities
    where not coalesce(is_deleted, false)
)

select * from renamed
