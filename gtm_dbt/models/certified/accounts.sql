with

accounts as (
    select * from {{ ref('dim_account') }}
),

deals as (
    select * from {{ ref('fct_opportunity') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

health as (
    select * from {{ ref('rep_account_health') }}
),

deals_by_account as (
    -- What belongs to an account that is no longer there counts for the unknown one.
    select
        coalesce(accounts.account_id, 'unknown') as account_id,
        count(*) as opportunity_count,
        count(case when deals.is_open_pipeline then 1 end) as pipeline_count,
        count(case when deals.is_won then 1 end) as won_count,
        sum(case when deals.is_open_pipeline then deals.amount_converted else 0 end) as pipeline_amount,
        sum(case when deals.is_won then deals.amount_converted else 0 end) as won_amount,
        max(case when deals.is_won then deals.close_date end) as last_won_date
    from deals
    inner join account_versions on deals.account_key = account_versions.account_key
    left join accounts on account_versions.account_id = accounts.account_id
    group by coalesce(accounts.account_id, 'unknown')
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
        coalesce(deals_by_account.opportunity_count, 0) as opportunity_count,
        coalesce(deals_by_account.pipeline_count, 0) as pipeline_count,
        coalesce(deals_by_account.won_count, 0) as won_count,
        cast(coalesce(deals_by_account.pipeline_amount, 0) as decimal(38, 6)) as pipeline_amount,
        cast(coalesce(deals_by_account.won_amount, 0) as decimal(38, 6)) as won_amount,
        health.missing_product_family_count,
        health.contact_count,
        health.activity_count,
        health.open_task_count,
        -- dates
        accounts.created_date,
        health.last_activity_date,
        deals_by_account.last_won_date,
        -- provenance
        accounts.source_system
    from accounts
    left join deals_by_account on accounts.account_id = deals_by_account.account_id
    left join health on accounts.account_id = health.account_id
)

select * from final
