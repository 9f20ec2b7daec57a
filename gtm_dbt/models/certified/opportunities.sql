with

deals as (
    select * from {{ ref('fct_opportunity') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

final as (
    select
        -- keys
        deals.opportunity_id,
        deals.account_id,
        deals.owner_user_id,
        -- what it is
        deals.opportunity_name,
        deals.opportunity_type,
        deals.opportunity_status,
        deals.stage_name,
        deals.forecast_category,
        deals.lead_source,
        deals.loss_reason,
        account_versions.account_name,
        account_versions.industry,
        account_versions.segment,
        owners.user_name as owner_name,
        owners.manager_name,
        owners.division,
        deals.is_won,
        deals.is_closed,
        deals.is_open_pipeline,
        -- measures
        deals.amount_converted as amount,
        deals.weighted_amount_converted as weighted_amount,
        deals.probability,
        deals.days_to_close,
        -- dates
        deals.created_date,
        deals.close_date,
        deals.last_activity_date,
        -- provenance
        deals.source_system
    from deals
    left join account_versions on deals.account_key = account_versions.account_key
    left join owners on deals.owner_user_key = owners.user_key
)

select * from final
