{{
    config(
        materialized='incremental',
        unique_key='task_id',
        post_hook=[
            "{{ record_consumed(['base_salesforce__task', 'dim_account_scd2']) }}",
            "{{ remove_deleted('task_id', ref('base_salesforce__task'), 'is_deleted') }}",
        ]
    )
}}

with

tasks as (
    select * from {{ ref('stg_salesforce__task') }}
),

users as (
    select * from {{ ref('stg_salesforce__user') }}
),

contacts as (
    select * from {{ ref('stg_salesforce__contact') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

account_changes as (
    select * from {{ ref('int_account_versions') }}
),

{% if is_incremental() %}
    built as (
        select
            task_id,
            owner_user_key,
            owner_user_id,
            contact_key,
            contact_id
        from {{ this }}
    ),

    -- Own changes, a history that changed, and owners and contacts that have come or gone.
    touched as (
        select tasks.task_id
        from tasks
        where
            tasks._batch_id in ({{ unconsumed_batches('base_salesforce__task') }})
            or tasks.account_id in (
                select account_changes.account_id
                from account_changes
                where account_changes._batch_id in ({{ unconsumed_batches('dim_account_scd2') }})
            )
            or {{ has_late_batch('base_salesforce__task') }}
        union
        select built.task_id
        from built
        left join users on built.owner_user_id = users.user_id
        where (users.user_id is null) <> (built.owner_user_key = {{ unknown_key() }})
        union
        select built.task_id
        from built
        left join contacts on built.contact_id = contacts.contact_id
        where (contacts.contact_id is null) <> (built.contact_key = {{ unknown_key() }})
    ),
{% endif %}

classified as (
    select
        tasks.*,
        coalesce(tasks.is_closed, false) as is_completed,
        case when tasks.is_closed then {{ to_reporting_date('tasks.completed_at') }} end as completed_date,
        -- The first three characters tell contacts, leads and deals apart: these are not shared.
        case when tasks.who_id like '003%' then tasks.who_id end as contact_id,
        case when tasks.who_id like '00Q%' then tasks.who_id end as lead_id,
        case when tasks.what_id like '006%' then tasks.what_id end as opportunity_id
    from tasks
    {% if is_incremental() %}
        where tasks.task_id in (select touched.task_id from touched)
    {% endif %}
),

-- A completed task belongs to the account as it was then, another to the account as it is.
with_account_version as (
    select
        classified.*,
        account_versions.account_key
    from classified
    left join account_versions
        on
            classified.account_id = account_versions.account_id
            and (
                (
                    (classified.completed_at is null or not classified.is_completed)
                    and account_versions.is_current
                )
                or (
                    classified.is_completed
                    and {{ version_in_force('account_versions', 'classified.completed_at') }}
                )
            )
),

final as (
    select
        -- keys
        activities.task_id,
        case
            when users.user_id is null then {{ unknown_key() }}
            else {{ surrogate_key(["'salesforce'", 'users.user_id']) }}
        end as owner_user_key,
        activities.owner_user_id,
        coalesce(activities.account_key, {{ unknown_key() }}) as account_key,
        activities.account_id,
        case
            when contacts.contact_id is null then {{ unknown_key() }}
            else {{ surrogate_key(["'salesforce'", 'contacts.contact_id']) }}
        end as contact_key,
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
        'salesforce' as source_system
    from with_account_version as activities
    left join users on activities.owner_user_id = users.user_id
    left join contacts on activities.contact_id = contacts.contact_id
)

select * from final
