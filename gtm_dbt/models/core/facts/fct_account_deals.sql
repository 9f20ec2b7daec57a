{{ amounts_add_up() }}

with

deals as (
    select * from {{ ref('fct_opportunity') }}
),

accounts as (
    select * from {{ ref('dim_account') }}
),

account_keys as (
    select * from {{ ref('int_account_keys') }}
),

deals_by_account as (
    select
        account_keys.account_id,
        count(*) as opportunity_count,
        count(case when deals.is_open_pipeline then 1 end) as pipeline_count,
        count(case when deals.is_won then 1 end) as won_count,
        sum(case when deals.is_open_pipeline then deals.amount_converted end) as pipeline_amount,
        sum(case when deals.is_open_pipeline then deals.weighted_amount_converted end) as weighted_pipeline_amount,
        sum(case when deals.is_won then deals.amount_converted end) as won_amount,
        max(case when deals.is_won then deals.close_date end) as last_won_date
    from deals
    inner join account_keys on deals.account_key = account_keys.account_key
    group by account_keys.account_id
),

final as (
    select
        -- keys
        accounts.account_id,
        accounts.owner_user_id,
        -- measures, in the reporting currency
        coalesce(deals_by_account.opportunity_count, 0) as opportunity_count,
        coalesce(deals_by_account.pipeline_count, 0) as pipeline_count,
        {{ total('deals_by_account.pipeline_amount') }} as pipeline_amount,
        {{ total('deals_by_account.weighted_pipeline_amount', 12) }} as weighted_pipeline_amount,
        coalesce(deals_by_account.won_count, 0) as won_count,
        {{ total('deals_by_account.won_amount') }} as won_amount,
        -- dates
        deals_by_account.last_won_date,
        -- provenance
        accounts.source_system
    from accounts
    left join deals_by_account on accounts.account_id = deals_by_account.account_id
)

select * from final
