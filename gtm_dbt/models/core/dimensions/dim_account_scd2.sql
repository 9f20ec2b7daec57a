{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
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

accounts_without_history as (
    {{ union_of_sources('account', without=['salesforce']) }}
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

-- An account that only a source without history has is one version. There are few of them, and each build
-- writes all of them.
all_versions as (
    select
        _scd_id,
        account_id,
        owner_user_id,
        parent_account_id,
        record_type_id,
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
        number_of_employees,
        annual_revenue,
        created_at,
        valid_from,
        valid_to,
        is_first,
        is_current,
        'salesforce' as source_system
    from history
    union all
    select
        {{ surrogate_key(['source_system', 'source_account_id']) }} as _scd_id,
        account_id,
        owner_user_id,
        parent_account_id,
        record_type_id,
        account_name,
        account_type,
        industry,
        segment,
        rating,
        account_source,
        website,
        billing_city,
        billing_state,
        billing_country,
        annual_revenue_band,
        currency_iso_code,
        false as is_deleted,
        number_of_employees,
        annual_revenue,
        created_at,
        created_at as valid_from,
        null as valid_to,
        true as is_first,
        true as is_current,
        source_system
    from accounts_without_history
    where account_id = source_account_id
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
        segment,
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
        is_first,
        is_current,
        -- provenance
        source_system
    from all_versions
),

{% if is_incremental() %}
    -- These versions are all given anew: an account that Salesforce has by now, or its source no more, goes.
    gone as (
        select account_id
        from {{ this }}
        where source_system not in ('salesforce', {{ unknown_key() }})
    ),
{% endif %}

with_unknown as (
    {{
        with_unknown_member('final', {
            'account_key': unknown_key(),
            '_scd_id': unknown_key(),
            'account_id': unknown_key(),
            'account_name': "'Unknown'",
            'is_deleted': 'false',
            'valid_from': first_instant(),
            'is_first': 'true',
            'is_current': 'true',
            'source_system': unknown_key(),
        })
    }}
)

{{ rows_and_gone('with_unknown', 'gone') }}
