{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='task_id',
        post_hook="{{ record_consumed(['base_salesforce__task', 'dim_account_scd2']) }}"
    )
}}

with

tasks as (
    select * from {{ ref('stg_salesforce__task') }}
),

deleted as (
    select id from {{ ref('base_salesforce__task') }}
    where is_deleted
),

users as (
    select
        user_id,
        {{ surrogate_key(["'salesforce'", 'user_id']) }} as user_key
    from {{ ref('stg_salesforce__user') }}
),

contacts as (
    select
        contact_id,
        {{ surrogate_key(["'salesforce'", 'contact_id']) }} as contact_key
    from {{ ref('stg_salesforce__contact') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

account_changes as (
    select * from {{ ref('int_account_versions') }}
),

{% if is_incremental() %}
    touched as (
        {{ touched_activities('tasks', 'task_id', 'base_salesforce__task') }}
    ),

    gone as (
        select built.task_id
        from {{ this }} as built
        inner join deleted on built.task_id = deleted.id
    ),
{% endif %}

classified as (
    select
        tasks.*,
        coalesce(tasks.is_closed, false) as is_completed,
        case when tasks.is_closed then tasks.completed_at end as happened_at,
        case when tasks.is_closed then {{ to_reporting_date('tasks.completed_at') }} end as completed_date,
        -- The first three characters of an id say its object: 003 contact, 00Q lead, 006 opportunity.
        case when tasks.who_id like '003%' then tasks.who_id end as contact_id,
        case when tasks.who_id like '00Q%' then tasks.who_id end as lead_id,
        case when tasks.what_id like '006%' then tasks.what_id end as opportunity_id
    from tasks
    {% if is_incremental() %}
        where tasks.task_id in (select touched.task_id from touched)
    {% endif %}
),

-- A completed task belongs to the account as it was at completion, an open one to the account as it is now.
with_account_version as (
    {{ with_account_version('classified', 'happened_at') }}
),

final as (
    select
        -- keys
        activities.task_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        activities.owner_user_id,
        coalesce(activities.account_key, {{ unknown_key() }}) as account_key,
        activities.account_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as contact_key,
        activities.contact_id,
        activities.lead_id,
        activities.who_id,
        activities.opportunity_id,
        activities.what_id,
        {{ date_key('activities.activity_date') }} as activity_date_key,
        {{ date_key('activities.completed_date') }} as completed_date_key,
        {{ date_key(to_reporting_date('activities.created_at')) }} as created_date_key,
        -- what it is
        activities.task_type,
        activities.task_subtype,
        activities.task_status,
        activities.priority,
        activities.call_type,
        activities.call_disposition,
        activities.is_completed,
        coalesce(activities.is_high_priority, false) as is_high_priority,
        -- measures
        activities.call_duration_in_seconds,
        -- dates
        activities.activity_date,
        activities.completed_at,
        activities.completed_date,
        activities.created_at,
        {{ to_reporting_date('activities.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('activities') }}
    from with_account_version as activities
    left join users on activities.owner_user_id = users.user_id
    left join contacts on activities.contact_id = contacts.contact_id
)

{{ rows_and_gone('final', 'gone') }}
