with

events as (
    select * from {{ ref('base_salesforce__event') }}
),

renamed as (
    select
        -- keys
        id as event_id,
        who_id,
        what_id,
        account_id,
        owner_id as owner_user_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        subject,
        type as event_type,
        event_subtype,
        location,
        is_all_day_event,
        is_archived,
        -- measures
        duration_in_minutes,
        -- dates
        start_date_time as started_at,
        end_date_time as ended_at,
        activity_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from events
    where not coalesce(is_deleted, false)
)

select * from renamed
