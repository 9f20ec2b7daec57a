with

influences as (
    select * from {{ ref('stg_salesforce__campaign_influence') }}
),

campaigns as (
    select * from {{ ref('dim_campaign') }}
),

contacts as (
    select * from {{ ref('dim_contact') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

dated as (
    select
        influences.*,
        {{ to_reporting_date('influences.created_at') }} as created_date
    from influences
),

final as (
    select
        -- keys
        dated.campaign_influence_id,
        coalesce(campaigns.campaign_key, {{ unknown_key() }}) as campaign_key,
        dated.campaign_id,
        dated.opportunity_id,
        coalesce(opportunities.account_key, {{ unknown_key() }}) as account_key,
        opportunities.account_id,
        coalesce(opportunities.owner_user_key, {{ unknown_key() }}) as owner_user_key,
        opportunities.owner_user_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as contact_key,
        dated.contact_id,
        dated.model_id,
        {{ date_key('dated.created_date') }} as created_date_key,
        -- what it is
        dated.currency_iso_code,
        -- measures, in the record's currency
        dated.influence as influence_percent,
        dated.revenue_share as influence_amount,
        -- dates
        dated.created_at,
        dated.created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('dated') }}
    from dated
    left join opportunities on dated.opportunity_id = opportunities.opportunity_id
    left join campaigns on dated.campaign_id = campaigns.campaign_id
    left join contacts on dated.contact_id = contacts.contact_id
)

select * from final
