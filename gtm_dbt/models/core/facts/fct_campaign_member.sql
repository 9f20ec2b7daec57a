with

campaign_members as (
    select * from {{ ref('stg_salesforce__campaign_member') }}
),

campaigns as (
    select * from {{ ref('dim_campaign') }}
),

leads as (
    select * from {{ ref('dim_lead') }}
),

contacts as (
    select * from {{ ref('dim_contact') }}
),

dated as (
    select
        campaign_members.*,
        {{ to_reporting_date('campaign_members.created_at') }} as created_date
    from campaign_members
),

final as (
    select
        -- keys
        dated.campaign_member_id,
        coalesce(campaigns.campaign_key, {{ unknown_key() }}) as campaign_key,
        dated.campaign_id,
        coalesce(leads.lead_key, {{ unknown_key() }}) as lead_key,
        dated.lead_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as contact_key,
        dated.contact_id,
        {{ date_key('dated.created_date') }} as created_date_key,
        {{ date_key('dated.first_responded_date') }} as first_responded_date_key,
        -- what it is
        dated.campaign_member_status,
        coalesce(dated.has_responded, false) as has_responded,
        -- dates
        dated.created_at,
        dated.created_date,
        dated.first_responded_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('dated') }}
    from dated
    left join campaigns on dated.campaign_id = campaigns.campaign_id
    left join leads on dated.lead_id = leads.lead_id
    left join contacts on dated.contact_id = contacts.contact_id
)

select * from final
