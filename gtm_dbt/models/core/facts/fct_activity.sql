{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='activity_key'
    )
}}

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

pipedrive_activities as (
    select * from {{ ref('stg_pipedrive__activity') }}
),

pipedrive_types as (
    select * from {{ ref('pipedrive_activity_types') }}
),

deals as (
    select * from {{ ref('fct_opportunity') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

activities as (
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
        -- A task counts on the day of its completion, until then on that when it is due.
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
        -- An event of all day, or one that does not say when it ends, is over when its day has come.
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
        cast(null as varchar) as contact_id,
        cast(null as varchar) as lead_id,
        email_messages.opportunity_id,
        -- 5 is a draft.
        coalesce(email_messages.message_status, '') <> '5' as is_completed,
        tasks.task_id is not null as is_also_a_task,
        email_messages.email_date as activity_date,
        email_messages.message_at as completed_at,
        email_messages.created_at,
        email_messages.created_date,
        email_messages.source_system
    from email_messages
    left join tasks on email_messages.activity_task_id = tasks.task_id
    union all
    select
        {{ pipedrive_id('pipedrive_activities.activity_record_id') }} as activity_id,
        'Pipedrive activity' as activity_source,
        coalesce(pipedrive_types.core_activity_type, 'To-do') as activity_type,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        {{ pipedrive_id('pipedrive_activities.user_id') }} as owner_user_id,
        coalesce(deals.account_key, {{ unknown_key() }}) as account_key,
        deals.account_id,
        coalesce(deals.contact_key, {{ unknown_key() }}) as contact_key,
        deals.contact_id,
        null as lead_id,
        {{ pipedrive_id('pipedrive_activities.deal_id') }} as opportunity_id,
        pipedrive_activities.is_done as is_completed,
        false as is_also_a_task,
        -- The export has no other time.
        {{ to_reporting_date('pipedrive_activities.due_at') }} as activity_date,
        pipedrive_activities.due_at as completed_at,
        null as created_at,
        null as created_date,
        'pipedrive' as source_system
    from pipedrive_activities
    left join pipedrive_types on pipedrive_activities.activity_type = pipedrive_types.activity_type
    left join users on {{ pipedrive_id('pipedrive_activities.user_id') }} = users.pipedrive_user_id
    left join deals on {{ pipedrive_id('pipedrive_activities.deal_id') }} = deals.opportunity_id
),

final as (
    select
        -- keys
        {{ surrogate_key(['source_system', 'activity_source', 'activity_id']) }} as activity_key,
        activity_id,
        owner_user_key,
        owner_user_id,
        account_key,
        account_id,
        contact_key,
        contact_id,
        lead_id,
        opportunity_id,
        {{ date_key('activity_date') }} as activity_date_key,
        -- what it is
        activity_source,
        activity_type,
        coalesce(is_completed, false) as is_completed,
        is_also_a_task,
        coalesce(is_completed, false) and not is_also_a_task as is_counted,
        -- dates
        activity_date,
        case when is_completed then completed_at end as completed_at,
        created_at,
        created_date,
        -- provenance
        source_system
    from activities
)

-- Few rows have changed, and writing all would take longer than comparing.
{{ changed_rows('final') }}
