{{
    config(
        materialized='incremental',
        unique_key='user_id',
        post_hook="{{ record_consumed(['int_user_versions']) }}"
    )
}}

with

versions as (
    select * from {{ ref('int_user_versions') }}
    {% if is_incremental() %}
        where user_id in (
            select touched.user_id
            from {{ ref('int_user_versions') }} as touched
            where touched._batch_id in ({{ unconsumed_batches('int_user_versions') }})
        )
    {% endif %}
),

history as (
    {{
        scd_type_2(
            'versions',
            id='user_id',
            tracked=tracked_columns(),
            carried=['user_name', 'email', 'title', 'department', 'created_at']
        )
    }}
),

final as (
    select
        -- keys
        _scd_id,
        {{ surrogate_key(["'salesforce'", 'user_id']) }} as user_key,
        user_id,
        manager_user_id,
        user_role_id,
        -- what it is
        user_name,
        email,
        title,
        department,
        division,
        audit_phase_c,
        is_active,
        is_deleted,
        -- dates
        created_at,
        valid_from as update_date,
        valid_from,
        valid_to,
        is_current,
        -- provenance
        'salesforce' as source_system
    from history
)

select * from final
