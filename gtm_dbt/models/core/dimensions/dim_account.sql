with

accounts as (
    select * from {{ ref('stg_salesforce__account') }}
),

account_matches as (
    select * from {{ ref('int_account_match') }}
),

current_versions as (
    select
        account_id,
        account_key
    from {{ ref('dim_account_scd2') }}
    where is_current
),

owners as (
    select * from {{ ref('stg_salesforce__user') }}
),

record_types as (
    select * from {{ ref('stg_salesforce__record_type') }}
),

-- Of several companies that are one account, the surest.
ranked_matches as (
    select
        account_id,
        pipedrive_account_id,
        row_number() over (
            partition by account_id order by confidence desc, pipedrive_account_id asc
        ) as rank_in_account
    from account_matches
),

final as (
    select
        -- keys
        current_versions.account_key,
        accounts.account_id,
        ranked_matches.pipedrive_account_id,
        accounts.owner_user_id,
        accounts.parent_account_id,
        accounts.record_type_id,
        -- what it is
        accounts.account_name,
        record_types.record_type_name,
        accounts.account_type,
        accounts.industry,
        accounts.segment_c as segment,
        accounts.rating,
        accounts.account_source,
        owners.user_name as owner_name,
        accounts.website,
        accounts.phone,
        accounts.billing_city,
        accounts.billing_state,
        accounts.billing_country,
        {{ annual_revenue_band('accounts.annual_revenue') }} as annual_revenue_band,
        accounts.currency_iso_code,
        -- measures
        accounts.number_of_employees,
        accounts.annual_revenue,
        -- dates
        accounts.created_at,
        {{ to_reporting_date('accounts.created_at') }} as created_date,
        accounts.last_activity_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('accounts') }}
    from accounts
    left join current_versions on accounts.account_id = current_versions.account_id
    left join ranked_matches
        on accounts.account_id = ranked_matches.account_id and ranked_matches.rank_in_account = 1
    left join owners on accounts.owner_user_id = owners.user_id
    left join record_types on accounts.record_type_id = record_types.record_type_id
),

pipedrive_accounts as (
    select
        current_versions.account_key,
        matches.account_id,
        matches.pipedrive_account_id,
        null as owner_user_id,
        null as parent_account_id,
        null as record_type_id,
        matches.account_name,
        null as record_type_name,
        null as account_type,
        null as industry,
        null as segment,
        null as rating,
        null as account_source,
        null as owner_name,
        matches.email_domain as website,
        null as phone,
        null as billing_city,
        null as billing_state,
        null as billing_country,
        null as annual_revenue_band,
        null as currency_iso_code,
        null as number_of_employees,
        null as annual_revenue,
        matches.first_seen_at as created_at,
        {{ to_reporting_date('matches.first_seen_at') }} as created_date,
        null as last_activity_date,
        matches.source_system{{ pass_through_nulls() }}
    from account_matches as matches
    left join current_versions on matches.account_id = current_versions.account_id
    where matches.salesforce_account_id is null
),

both_sources as (
    select * from final
    union all
    select * from pipedrive_accounts
),

with_unknown as (
    {{
        with_unknown_member('both_sources', {
            'account_key': unknown_key(),
            'account_id': unknown_key(),
            'account_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
