with

activities as (
    select * from {{ ref('fct_activity') }}
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
        activities.activity_key,
        activities.owner_user_id,
        activities.account_id,
        activities.opportunity_id,
        -- what it is
        activities.activity_source,
        activities.activity_type,
        account_versions.account_name,
        owners.user_name as owner_name,
        owners.manager_name,
        owners.division,
        activities.is_completed,
        activities.is_counted,
        -- dates
        activities.activity_date,
        activities.created_date,
        -- provenance
        activities.source_system
    from activities
    left join account_versions on activities.account_key = account_versions.account_key
    left join owners on activities.owner_user_key = owners.user_key
)

select * from final
