{{
    config(
        materialized='incremental',
        unique_key='account_id',
        post_hook="{{ record_consumed(['int_account_versions']) }}"
    )
}}

with

versions as (
    select * from {{ ref('int_account_versions') }}
    {% if is_incremental() %}
        where account_id in (
            select touched.account_id
            from {{ ref('int_account_versions') }} as touched
            where touched._batch_id in ({{ unconsumed_batches('int_account_versions') }})
        )
    {% endif %}
),

history as (
    {{
        scd_type_2(
            'versions',
            id='account_id',
            tracked=tracked_columns(),
            carried=[
                'parent_account_id', 'record_type_id', 'rating', 'account_source', 'website', 'number_of_employees',
                'annual_revenue', 'billing_city', 'billing_state', 'currency_iso_code', 'created_at',
            ]
        )
    }}
),

final as (
    select
        -- keys
        _scd_id as account_key,
        _scd_id,
        account_id,
        owner_user_id,
        parent_account_id,
        record_type_id,
        -- what it is
        account_name,
        account_type,
        industry,
        segment_c as segment,
        rating,
        account_source,
        website,
        billing_city,
        billing_state,
        billing_country,
        annual_revenue_band,
        currency_iso_code,
        is_deleted,
        -- measures
        number_of_employees,
        annual_revenue,
        -- dates
        created_at,
        valid_from,
        valid_to,
        is_current,
        -- provenance
        'salesforce' as source_system
    from history
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'account_key': unknown_key(),
            '_scd_id': unknown_key(),
            'account_id': unknown_key(),
            'account_name': "'Unknown'",
            'is_deleted': 'false',
            'valid_from': first_instant(),
            'is_current': 'true',
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
