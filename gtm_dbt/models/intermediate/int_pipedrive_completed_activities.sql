with

activities as (
    select * from {{ ref('stg_pipedrive__activity') }}
),

types as (
    select * from {{ ref('pipedrive_activity_types') }}
),

final as (
    select
        -- keys
        activities.activity_record_id,
        activities.activity_id,
        activities.deal_id,
        activities.user_id,
        -- what it is
        activities.activity_type,
        types.funnel_step,
        -- dates
        activities.due_at,
        {{ to_utc_date('activities.due_at') }} as due_date,
        -- provenance
        'pipedrive' as source_system
    from activities
    left join types on activities.activity_type = types.activity_type
    where activities.is_done
)

select * from final
