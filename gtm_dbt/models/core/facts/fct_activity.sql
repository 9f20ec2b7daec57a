{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='activity_key',
        post_hook="{{ record_build() }}"
    )
}}

with

activities as (
    {{ union_of_sources('activity') }}
),

final as (
    select
        -- keys
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

-- Few rows have changed, and comparing all is faster than writing all.
{{
    changed_rows(
        'final',
        key='activity_key',
        key_of_row=surrogate_key(['source_system', 'activity_source', 'activity_id'])
    )
}}
