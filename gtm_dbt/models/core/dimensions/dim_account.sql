with

records as (
    {{ union_of_sources('account') }}
),

current_versions as (
    select
        account_id,
        account_key
    from {{ ref('dim_account_scd2') }}
    where is_current
),

-- Where several companies of Pipedrive match one account, the surest match counts.
pipedrive_companies as (
    select
        account_id,
        source_account_id as pipedrive_account_id,
        row_number() over (
            partition by account_id order by confidence desc, source_account_id asc
        ) as rank_in_account
    from records
    where source_system = 'pipedrive'
),

-- A company that several sources have is one row, that of the source whose id it has here.
final as (
    select
        -- keys
        current_versions.account_key,
        records.account_id,
        pipedrive_companies.pipedrive_account_id,
        records.owner_user_id,
        records.parent_account_id,
        records.record_type_id,
        -- what it is
        records.account_name,
        records.record_type_name,
        records.account_type,
        records.industry,
        records.segment,
        records.rating,
        records.account_source,
        records.owner_name,
        records.website,
        records.phone,
        records.billing_city,
        records.billing_state,
        records.billing_country,
        records.annual_revenue_band,
        records.currency_iso_code,
        -- measures
        records.number_of_employees,
        records.annual_revenue,
        -- dates
        records.created_at,
        {{ to_reporting_date('records.created_at') }} as created_date,
        records.last_activity_date,
        -- provenance
        records.source_system{{ pass_through('records') }}
    from records
    left join current_versions on records.account_id = current_versions.account_id
    left join pipedrive_companies
        on records.account_id = pipedrive_companies.account_id and pipedrive_companies.rank_in_account = 1
    where records.account_id = records.source_account_id
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'account_key': unknown_key(),
            'account_id': unknown_key(),
            'account_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
