with

tasks as (
    select * from {{ ref('fct_task') }}
),

events as (
    select * from {{ ref('fct_event') }}
),

email_messages as (
    select * from {{ ref('fct_email_message') }}
),

final as (
    select
        task_id as activity_id,
        'Task' as activity_source,
        case
            when task_subtype in ('Call', 'Email') then task_subtype
            when task_type in ('Call', 'Email', 'Meeting') then task_type
            else 'To-do'
        end as activity_type,
        owner_user_key,
        owner_user_id,
        account_key,
        account_id,
        contact_key,
        contact_id,
        lead_id,
        opportunity_id,
        is_completed,
        false as is_also_a_task,
        -- A completed task counts on the day of its completion, an open one on its due date.
        coalesce(completed_date, activity_date) as activity_date,
        completed_at,
        created_at,
        created_date,
        source_system
    from tasks
    union all
    select
        event_id as activity_id,
        'Event' as activity_source,
        case when event_subtype = 'Scheduled Call' or event_type = 'Call' then 'Call' else 'Meeting' end
            as activity_type,
        owner_user_key,
        owner_user_id,
        account_key,
        account_id,
        contact_key,
        contact_id,
        lead_id,
        opportunity_id,
        -- An all-day event, or one without an end, is over once its day has come.
        case
            when is_all_day_event or ended_at is null then event_date <= {{ to_reporting_date(as_of()) }}
            else ended_at <= {{ as_of() }}
        end as is_completed,
        false as is_also_a_task,
        event_date as activity_date,
        coalesce(ended_at, started_at) as completed_at,
        created_at,
        created_date,
        source_system
    from events
    union all
    select
        email_messages.email_message_id as activity_id,
        'Email message' as activity_source,
        'Email' as activity_type,
        email_messages.owner_user_key,
        email_messages.owner_user_id,
        email_messages.account_key,
        email_messages.account_id,
        {{ unknown_key() }} as contact_key,
        cast(null as {{ engine_type('varchar') }}) as contact_id,
        cast(null as {{ engine_type('varchar') }}) as lead_id,
        email_messages.opportunity_id,
        -- Status 5 is a draft.
        coalesce(email_messages.message_status, '') <> '5' as is_completed,
        tasks.task_id is not null as is_also_a_task,
        email_messages.email_date as activity_date,
        email_messages.message_at as completed_at,
        email_messages.created_at,
        email_messages.created_date,
        email_messages.source_system
    from email_messages
    left join tasks on email_messages.activity_task_id = tasks.task_id
)

select * from final
