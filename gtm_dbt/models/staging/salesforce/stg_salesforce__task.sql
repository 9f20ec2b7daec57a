with

tasks as (
    select * from {{ ref('base_salesforce__task') }}
),

renamed as (
    select
        -- keys
        id as task_id,
        who_id,
        what_id,
        account_id,
        owner_id as owner_user_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        subject,
        type as task_type,
        task_subtype,
        status as task_status,
        priority,
        is_closed,
        is_high_priority,
        call_type,
        call_disposition,
        is_archived,
        -- measures
        call_duration_in_seconds,
        -- dates
        activity_date,
        completed_date_time as completed_at,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from tasks
    where not coalesce(is_deleted, false)
)

select * from renamed
