{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='email_message_id',
        post_hook="{{ record_consumed(['base_salesforce__email_message', 'dim_account_scd2']) }}"
    )
}}

with

-- The first three characters of an id say its object: 001 account, 006 opportunity, 701 campaign.
email_messages as (
    select
        staged.*,
        case when staged.related_to_id like '001%' then staged.related_to_id end as account_id,
        case when staged.related_to_id like '006%' then staged.related_to_id end as opportunity_id,
        case when staged.related_to_id like '701%' then staged.related_to_id end as campaign_id
    from {{ ref('stg_salesforce__email_message') }} as staged
),

deleted as (
    select id from {{ ref('base_salesforce__email_message') }}
    where is_deleted
),

users as (
    select
        user_id,
        {{ surrogate_key(["'salesforce'", 'user_id']) }} as user_key
    from {{ ref('stg_salesforce__user') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

account_changes as (
    select * from {{ ref('int_account_versions') }}
),

{% if is_incremental() %}
    touched as (
        {{
            touched_activities(
                'email_messages', 'email_message_id', 'base_salesforce__email_message', has_contact=false
            )
        }}
    ),

    gone as (
        select built.email_message_id
        from {{ this }} as built
        inner join deleted on built.email_message_id = deleted.id
    ),
{% endif %}

classified as (
    select
        email_messages.*,
        {{ to_reporting_date('email_messages.message_at') }} as email_date
    from email_messages
    {% if is_incremental() %}
        where email_messages.email_message_id in (select touched.email_message_id from touched)
    {% endif %}
),

-- An email belongs to the account as it was when it was sent, a draft to the account as it is now.
with_account_version as (
    {{ with_account_version('classified', 'message_at') }}
),

final as (
    select
        -- keys
        activities.email_message_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        activities.created_by_user_id as owner_user_id,
        coalesce(activities.account_key, {{ unknown_key() }}) as account_key,
        activities.account_id,
        activities.opportunity_id,
        activities.campaign_id,
        activities.related_to_id,
        activities.case_id,
        activities.activity_task_id,
        {{ date_key('activities.email_date') }} as email_date_key,
        {{ date_key(to_reporting_date('activities.created_at')) }} as created_date_key,
        -- what it is
        activities.message_status,
        coalesce(activities.is_incoming, false) as is_incoming,
        coalesce(activities.is_tracked, false) as is_tracked,
        coalesce(activities.is_opened, false) as is_opened,
        -- measures
        activities.open_count_c as open_count,
        activities.click_count_c as click_count,
        -- dates
        activities.message_at,
        activities.email_date,
        activities.first_opened_at,
        activities.last_opened_at,
        activities.created_at,
        {{ to_reporting_date('activities.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('activities') }}
    from with_account_version as activities
    left join users on activities.created_by_user_id = users.user_id
)

{{ rows_and_gone('final', 'gone') }}
