with

campaigns as (
    select * from {{ ref('stg_salesforce__campaign') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'campaigns.campaign_id']) }} as campaign_key,
        campaigns.campaign_id,
        campaigns.parent_campaign_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        campaigns.owner_user_id,
        -- what it is
        campaigns.campaign_name,
        campaigns.campaign_type,
        campaigns.campaign_status,
        parents.campaign_name as parent_campaign_name,
        campaigns.is_active,
        campaigns.currency_iso_code,
        -- measures, in the record's currency
        campaigns.budgeted_cost,
        campaigns.actual_cost,
        campaigns.expected_revenue,
        -- measures, in the reporting currency
        {{ converted('campaigns.budgeted_cost', 'campaigns.currency_iso_code', 'rates.rate') }}
            as budgeted_cost_converted,
        {{ converted('campaigns.actual_cost', 'campaigns.currency_iso_code', 'rates.rate') }}
            as actual_cost_converted,
        -- measures
        campaigns.expected_response,
        campaigns.expected_response / 100 as expected_response_rate,
        campaigns.number_sent,
        -- dates
        campaigns.start_date,
        campaigns.end_date,
        campaigns.created_at,
        {{ to_reporting_date('campaigns.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('campaigns') }}
    from campaigns
    left join users on campaigns.owner_user_id = users.user_id
    left join campaigns as parents on campaigns.parent_campaign_id = parents.campaign_id
    left join rates
        on
            {{
                rate_in_force(
                    'rates',
                    'campaigns.currency_iso_code',
                    'coalesce(campaigns.start_date, ' ~ to_reporting_date('campaigns.created_at') ~ ')'
                )
            }}
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'campaign_key': unknown_key(),
            'campaign_id': unknown_key(),
            'owner_user_key': unknown_key(),
            'campaign_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
