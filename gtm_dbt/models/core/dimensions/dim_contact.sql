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

contact_matches as (
    select * from {{ ref('int_contact_match') }}
),

-- Of several people that are one contact, the surest.
ranked_matches as (
    select
        contact_id,
        pipedrive_contact_id,
        row_number() over (
            partition by contact_id order by confidence desc, pipedrive_contact_id asc
        ) as rank_in_contact
    from contact_matches
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'contacts.contact_id']) }} as contact_key,
        contacts.contact_id,
        ranked_matches.pipedrive_contact_id,
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
    left join ranked_matches
        on contacts.contact_id = ranked_matches.contact_id and ranked_matches.rank_in_contact = 1
),

pipedrive_contacts as (
    select
        {{ surrogate_key(["'pipedrive'", 'matches.pipedrive_contact_id']) }} as contact_key,
        matches.contact_id,
        matches.pipedrive_contact_id,
        coalesce(accounts.account_key, {{ unknown_key() }}) as account_key,
        matches.account_id,
        {{ unknown_key() }} as owner_user_key,
        null as owner_user_id,
        null as reports_to_contact_id,
        matches.contact_name,
        null as first_name,
        null as last_name,
        matches.email,
        null as phone,
        null as mobile_phone,
        null as title,
        null as department,
        null as lead_source,
        null as mailing_city,
        null as mailing_state,
        null as mailing_country,
        null as has_opted_out_of_email,
        matches.first_seen_at as created_at,
        {{ to_reporting_date('matches.first_seen_at') }} as created_date,
        null as last_activity_date,
        matches.source_system{{ pass_through_nulls() }}
    from contact_matches as matches
    left join accounts on matches.account_id = accounts.account_id
    where matches.salesforce_contact_id is null
),

both_sources as (
    select * from final
    union all
    select * from pipedrive_contacts
),

with_unknown as (
    {{
        with_unknown_member('both_sources', {
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
