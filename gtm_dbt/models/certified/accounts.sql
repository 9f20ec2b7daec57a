with

accounts as (
    select * from {{ ref('dim_account') }}
),

deals as (
    select * from {{ ref('fct_account_deals') }}
),

health as (
    select * from {{ ref('rep_account_health') }}
),

final as (
    select
        -- keys
        accounts.account_id,
        accounts.parent_account_id,
        accounts.owner_user_id,
        -- what it is
        accounts.account_name,
        accounts.account_type,
        accounts.industry,
        accounts.segment,
        accounts.billing_country,
        accounts.annual_revenue_band,
        accounts.owner_name,
        health.is_idle,
        -- measures
        deals.opportunity_count,
        deals.pipeline_count,
        deals.won_count,
        deals.pipeline_amount,
        deals.won_amount,
        health.arr,
        health.missing_product_family_count,
        health.contact_count,
        health.activity_count,
        health.open_task_count,
        -- dates
        accounts.created_date,
        health.last_activity_date,
        deals.last_won_date,
        -- provenance
        accounts.source_system
    from accounts
    inner join deals on accounts.account_id = deals.account_id
    inner join health on accounts.account_id = health.account_id
)

select * from final
