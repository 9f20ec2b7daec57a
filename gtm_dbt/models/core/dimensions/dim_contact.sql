with

contacts as (
    select * from {{ ref('stg_salesforce__contact') }}
),

accounts as (
    select * from {{ ref('dim_account') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'contacts.contact_id']) }} as contact_key,
        contacts.contact_id,
        coalesce(accounts.account_key, {{ unknown_key() }}) as account_key,
        contacts.account_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        contacts.owner_user_id,
        contacts.reports_to_contact_id,
        -- what it is
        contacts.contact_name,
        contacts.first_name,
        contacts.last_name,
        contacts.email,
        contacts.phone,
        contacts.mobile_phone,
        contacts.title,
        contacts.department,
        contacts.lead_source,
        contacts.mailing_city,
        contacts.mailing_state,
        contacts.mailing_country,
        contacts.has_opted_out_of_email,
        -- dates
        contacts.created_at,
        {{ to_reporting_date('contacts.created_at') }} as created_date,
        contacts.last_activity_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('contacts') }}
    from contacts
    left join accounts on contacts.account_id = accounts.account_id
    left join users on contacts.owner_user_id = users.user_id
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'contact_key': unknown_key(),
            'contact_id': unknown_key(),
            'account_key': unknown_key(),
            'owner_user_key': unknown_key(),
            'contact_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
