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

account_matches as (
    select * from {{ ref('int_account_match') }}
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
        is_first,
        is_current,
        -- provenance
        'salesforce' as source_system
    from history
),

-- Companies that only Pipedrive has: it keeps no history, so each is one version. They are few: all are built
-- each time.
pipedrive_versions as (
    select
        {{ surrogate_key(["'pipedrive'", 'pipedrive_account_id']) }} as account_key,
        {{ surrogate_key(["'pipedrive'", 'pipedrive_account_id']) }} as _scd_id,
        pipedrive_account_id as account_id,
        null as owner_user_id,
        null as parent_account_id,
        null as record_type_id,
        account_name,
        null as account_type,
        null as industry,
        null as segment,
        null as rating,
        null as account_source,
        email_domain as website,
        null as billing_city,
        null as billing_state,
        null as billing_country,
        null as annual_revenue_band,
        null as currency_iso_code,
        false as is_deleted,
        null as number_of_employees,
        null as annual_revenue,
        first_seen_at as created_at,
        first_seen_at as valid_from,
        null as valid_to,
        true as is_first,
        true as is_current,
        source_system
    from account_matches
    where salesforce_account_id is null
),

{% if is_incremental() %}
    -- All of Pipedrive's companies are given anew: one that Salesforce has by now, or no deal any more, goes.
    gone as (
        select account_id
        from {{ this }}
        where source_system = 'pipedrive'
    ),
{% endif %}

both_sources as (
    select * from final
    union all
    select * from pipedrive_versions
),

with_unknown as (
    {{
        with_unknown_member('both_sources', {
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
