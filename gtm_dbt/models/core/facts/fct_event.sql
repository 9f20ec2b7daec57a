{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='event_id',
        post_hook="{{ record_consumed(['base_salesforce__event', 'dim_account_scd2']) }}"
    )
}}

with

events as (
    select * from {{ ref('stg_salesforce__event') }}
),

deleted as (
    select id from {{ ref('base_salesforce__event') }}
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
        {{ touched_activities('events', 'event_id', 'base_salesforce__event') }}
    ),

    gone as (
        select built.event_id
        from {{ this }} as built
        inner join deleted on built.event_id = deleted.id
    ),
{% endif %}

classified as (
    select
        events.*,
        -- An all-day event keeps its own day. Any other event lies on the day of its start in the reporting zone.
        case
            when events.is_all_day_event or events.started_at is null then events.activity_date
            else {{ to_reporting_date('events.started_at') }}
        end as event_date,
        -- The first three characters of an id say its object: 003 contact, 00Q lead, 006 opportunity.
        case when events.who_id like '003%' then events.who_id end as contact_id,
        case when events.who_id like '00Q%' then events.who_id end as lead_id,
        case when events.what_id like '006%' then events.what_id end as opportunity_id
    from events
    {% if is_incremental() %}
        where events.event_id in (select touched.event_id from touched)
    {% endif %}
),

-- An event belongs to the account as it was at its start, a future event to the account as it is now.
with_account_version as (
    {{ with_account_version('classified', 'started_at') }}
),

final as (
    select
        -- keys
        activities.event_id,
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
        {{ date_key('activities.event_date') }} as event_date_key,
        {{ date_key(to_reporting_date('activities.created_at')) }} as created_date_key,
        -- what it is
        activities.event_type,
        activities.event_subtype,
        coalesce(activities.is_all_day_event, false) as is_all_day_event,
        -- measures
        {{ event_minutes('activities') }} as duration_minutes,
        -- dates
        activities.started_at,
        activities.ended_at,
        activities.event_date,
        activities.created_at,
        {{ to_reporting_date('activities.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('activities') }}
    from with_account_version as activities
    left join users on activities.owner_user_id = users.user_id
    left join contacts on activities.contact_id = contacts.contact_id
)

{{ rows_and_gone('final', 'gone') }}
