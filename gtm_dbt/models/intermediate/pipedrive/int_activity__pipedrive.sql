with

activities as (
    select * from {{ ref('stg_pipedrive__activity') }}
),

types as (
    select * from {{ ref('pipedrive_activity_types') }}
),

owners as (
    select * from {{ ref('int_user__pipedrive') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

final as (
    select
        -- keys
        {{ pipedrive_id('activities.activity_record_id') }} as activity_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        {{ pipedrive_id('activities.user_id') }} as owner_user_id,
        coalesce(opportunities.account_key, {{ unknown_key() }}) as account_key,
        opportunities.account_id,
        coalesce(opportunities.contact_key, {{ unknown_key() }}) as contact_key,
        opportunities.contact_id,
        {{ pipedrive_id('activities.deal_id') }} as opportunity_id,
        -- what it is
        'Pipedrive activity' as activity_source,
        coalesce(types.core_activity_type, 'To-do') as activity_type,
        activities.is_done as is_completed,
        false as is_also_a_task,
        -- dates: the export has no other time
        {{ to_reporting_date('activities.due_at') }} as activity_date,
        activities.due_at as completed_at,
        -- provenance
        'pipedrive' as source_system
    from activities
    left join types on activities.activity_type = types.activity_type
    left join owners on {{ pipedrive_id('activities.user_id') }} = owners.source_user_id
    left join users on owners.user_id = users.user_id
    left join opportunities on {{ pipedrive_id('activities.deal_id') }} = opportunities.opportunity_id
)

select * from final
