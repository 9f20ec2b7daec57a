{{
    config(
        materialized='incremental',
        unique_key='contact_id',
        post_hook="{{ record_consumed(['int_contact_versions']) }}"
    )
}}

with

versions as (
    select * from {{ ref('int_contact_versions') }}
    {% if is_incremental() %}
        where contact_id in (
            select touched.contact_id
            from {{ ref('int_contact_versions') }} as touched
            where touched._batch_id in ({{ unconsumed_batches('int_contact_versions') }})
        )
    {% endif %}
),

history as (
    {{
        scd_type_2(
            'versions',
            id='contact_id',
            tracked=tracked_columns(),
            carried=['reports_to_contact_id', 'contact_name', 'email', 'lead_source', 'mailing_country', 'created_at']
        )
    }}
),

final as (
    select
        -- keys
        _scd_id,
        {{ surrogate_key(["'salesforce'", 'contact_id']) }} as contact_key,
        contact_id,
        account_id,
        owner_user_id,
        reports_to_contact_id,
        -- what it is
        contact_name,
        email,
        title,
        department,
        lead_source,
        mailing_country,
        is_deleted,
        -- dates
        created_at,
        valid_from,
        valid_to,
        is_current,
        -- provenance
        'salesforce' as source_system
    from history
)

select * from final
