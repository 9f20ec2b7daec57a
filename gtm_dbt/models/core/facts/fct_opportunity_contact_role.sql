with

contact_roles as (
    select * from {{ ref('stg_salesforce__opportunity_contact_role') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

contacts as (
    select * from {{ ref('dim_contact') }}
),

final as (
    select
        -- keys
        contact_roles.opportunity_contact_role_id,
        contact_roles.opportunity_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as contact_key,
        contact_roles.contact_id,
        coalesce(opportunities.account_key, {{ unknown_key() }}) as account_key,
        coalesce(opportunities.owner_user_key, {{ unknown_key() }}) as owner_user_key,
        {{ date_key(to_reporting_date('contact_roles.created_at')) }} as created_date_key,
        -- what it is
        contact_roles.role,
        coalesce(contact_roles.is_primary, false) as is_primary,
        -- dates
        contact_roles.created_at,
        {{ to_reporting_date('contact_roles.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('contact_roles') }}
    from contact_roles
    left join contacts on contact_roles.contact_id = contacts.contact_id
    left join opportunities on contact_roles.opportunity_id = opportunities.opportunity_id
)

select * from final
