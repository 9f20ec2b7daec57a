with

email_messages as (
    select * from {{ ref('base_salesforce__email_message') }}
),

renamed as (
    select
        -- keys
        id as email_message_id,
        parent_id as case_id,
        activity_id as activity_task_id,
        related_to_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        subject,
        from_address,
        to_address,
        status as message_status,
        incoming as is_incoming,
        is_tracked,
        is_opened,
        -- measures
        open_count_c,
        click_count_c,
        -- dates
        message_date as message_at,
        first_opened_date as first_opened_at,
        last_opened_date as last_opened_at,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from email_messages
    where not coalesce(is_deleted, false)
)

select * from renamed
