with

leads as (
    select * from {{ ref('stg_salesforce__lead') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

accounts as (
    select * from {{ ref('dim_account') }}
),

contacts as (
    select * from {{ ref('dim_contact') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'leads.lead_id']) }} as lead_key,
        leads.lead_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        leads.owner_user_id,
        coalesce(accounts.account_key, {{ unknown_key() }}) as converted_account_key,
        leads.converted_account_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as converted_contact_key,
        leads.converted_contact_id,
        leads.converted_opportunity_id,
        -- what it is
        leads.lead_name,
        leads.first_name,
        leads.last_name,
        leads.company,
        leads.email,
        leads.phone,
        leads.title,
        leads.lead_source,
        leads.lead_status,
        leads.rating,
        leads.industry,
        leads.country,
        coalesce(leads.is_converted, false) as is_converted,
        -- measures
        leads.number_of_employees,
        leads.annual_revenue,
        case
            when leads.is_converted
                then
                    {{
                        days_to_written_date(
                            'leads.created_at', 'leads.converted_date', 'users.time_zone', follows=true
                        )
                    }}
        end as days_to_convert,
        -- dates
        leads.created_at,
        {{ to_reporting_date('leads.created_at') }} as created_date,
        case when leads.is_converted then leads.converted_date end as converted_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('leads') }}
    from leads
    left join users on leads.owner_user_id = users.user_id
    left join accounts on leads.converted_account_id = accounts.account_id
    left join contacts on leads.converted_contact_id = contacts.contact_id
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'lead_key': unknown_key(),
            'lead_id': unknown_key(),
            'owner_user_key': unknown_key(),
            'converted_account_key': unknown_key(),
            'converted_contact_key': unknown_key(),
            'lead_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
