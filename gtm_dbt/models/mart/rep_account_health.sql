{%- set idle_after_days = var('idle_after_days') | int -%}

with

accounts as (
    select * from {{ ref('dim_account') }}
),

account_keys as (
    select * from {{ ref('int_account_keys') }}
),

deals as (
    select * from {{ ref('fct_opportunity') }}
),

deals_by_account as (
    select * from {{ ref('fct_account_deals') }}
),

arr_by_account as (
    select
        account_id,
        closing_arr
    from {{ ref('rep_arr_monthly') }}
    where is_latest
),

line_items as (
    select * from {{ ref('fct_opportunity_line_item') }}
),

products as (
    select * from {{ ref('dim_product') }}
),

contacts as (
    select * from {{ ref('dim_contact') }}
),

activities as (
    select * from {{ ref('fct_activity') }}
),

tasks as (
    select * from {{ ref('fct_task') }}
),

today as (
    select {{ to_reporting_date(as_of()) }} as as_of_date
),

families as (
    select count(distinct family) as family_count
    from products
    where is_active
),

families_by_account as (
    select
        account_keys.account_id,
        count(distinct case when products.is_active then products.family end) as family_count
    from line_items
    inner join deals on line_items.opportunity_id = deals.opportunity_id
    inner join account_keys on deals.account_key = account_keys.account_key
    inner join products on line_items.product_key = products.product_key
    where deals.is_won
    group by account_keys.account_id
),

contacts_by_account as (
    select
        account_keys.account_id,
        count(*) as contact_count
    from contacts
    inner join account_keys on contacts.account_key = account_keys.account_key
    where contacts.contact_key <> {{ unknown_key() }}
    group by account_keys.account_id
),

activities_by_account as (
    select
        account_keys.account_id,
        count(*) as activity_count,
        max(activities.activity_date) as last_activity_date
    from activities
    inner join account_keys on activities.account_key = account_keys.account_key
    cross join today
    where activities.is_counted and activities.is_completed and activities.activity_date <= today.as_of_date
    group by account_keys.account_id
),

open_tasks_by_account as (
    select
        account_keys.account_id,
        count(*) as open_task_count
    from tasks
    inner join account_keys on tasks.account_key = account_keys.account_key
    where not tasks.is_completed
    group by account_keys.account_id
),

final as (
    select
        -- keys
        accounts.account_id,
        accounts.owner_user_id,
        -- what it is
        accounts.account_name,
        accounts.account_type,
        accounts.industry,
        accounts.segment,
        accounts.owner_name,
        -- deals
        deals_by_account.opportunity_count,
        deals_by_account.pipeline_count,
        {{ money('deals_by_account.pipeline_amount') }} as pipeline_amount,
        {{ money('deals_by_account.weighted_pipeline_amount') }} as weighted_pipeline_amount,
        deals_by_account.won_count,
        {{ money('deals_by_account.won_amount') }} as won_amount,
        {{ money('arr_by_account.closing_arr') }} as arr,
        deals_by_account.last_won_date,
        -- products
        coalesce(families_by_account.family_count, 0) as product_family_count,
        families.family_count - coalesce(families_by_account.family_count, 0) as missing_product_family_count,
        -- people and activity
        coalesce(contacts_by_account.contact_count, 0) as contact_count,
        coalesce(activities_by_account.activity_count, 0) as activity_count,
        coalesce(open_tasks_by_account.open_task_count, 0) as open_task_count,
        activities_by_account.last_activity_date,
        coalesce(
            deals_by_account.pipeline_count > 0
            and coalesce(activities_by_account.last_activity_date, accounts.created_date)
            < today.as_of_date - {{ idle_after_days }},
            false
        ) as is_idle,
        -- dates
        accounts.created_date,
        today.as_of_date,
        -- provenance
        accounts.source_system
    from accounts
    cross join families
    cross join today
    inner join deals_by_account on accounts.account_id = deals_by_account.account_id
    left join arr_by_account on accounts.account_id = arr_by_account.account_id
    left join families_by_account on accounts.account_id = families_by_account.account_id
    left join contacts_by_account on accounts.account_id = contacts_by_account.account_id
    left join activities_by_account on accounts.account_id = activities_by_account.account_id
    left join open_tasks_by_account on accounts.account_id = open_tasks_by_account.account_id
)

select * from final
