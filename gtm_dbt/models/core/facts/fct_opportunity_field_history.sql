{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='opportunity_field_history_id',
        post_hook="{{ record_consumed(['base_salesforce__opportunity_field_history']) }}"
    )
}}

with

changes as (
    select * from {{ ref('stg_salesforce__opportunity_field_history') }}
),

deleted as (
    select id from {{ ref('base_salesforce__opportunity_field_history') }}
    where is_deleted
),

users as (
    select
        user_id,
        {{ surrogate_key(["'salesforce'", 'user_id']) }} as user_key
    from {{ ref('stg_salesforce__user') }}
),

{% if is_incremental() %}
    built as (
        select
            opportunity_field_history_id,
            changed_by_user_key,
            changed_by_user_id
        from {{ this }}
    ),

    -- Changes that are new, and those whose user appeared or disappeared.
    touched as (
        select changes.opportunity_field_history_id
        from changes
        where
            changes._batch_id in ({{ unconsumed_batches('base_salesforce__opportunity_field_history') }})
            or {{ has_late_batch('base_salesforce__opportunity_field_history') }}
        union
        select built.opportunity_field_history_id
        from built
        left join users on built.changed_by_user_id = users.user_id
        where (users.user_id is null) <> (built.changed_by_user_key = {{ unknown_key() }})
    ),

    gone as (
        select built.opportunity_field_history_id
        from built
        inner join deleted on built.opportunity_field_history_id = deleted.id
    ),
{% endif %}

final as (
    select
        -- keys
        changes.opportunity_field_history_id,
        changes.opportunity_id,
        coalesce(users.user_key, {{ unknown_key() }}) as changed_by_user_key,
        changes.created_by_user_id as changed_by_user_id,
        {{ date_key(to_reporting_date('changes.created_at')) }} as changed_date_key,
        -- what it is
        changes.field_name,
        changes.field_data_type,
        changes.old_value,
        changes.new_value,
        -- dates
        changes.created_at as changed_at,
        {{ to_reporting_date('changes.created_at') }} as changed_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('changes') }}
    from changes
    left join users on changes.created_by_user_id = users.user_id
    {% if is_incremental() %}
        where changes.opportunity_field_history_id in (
            select touched.opportunity_field_history_id from touched
        )
    {% endif %}
)

{{ rows_and_gone('final', 'gone') }}
