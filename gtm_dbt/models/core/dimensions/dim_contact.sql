with

records as (
    {{ union_of_sources('contact') }}
),

accounts as (
    select * from {{ ref('dim_account') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

-- Where several people of Pipedrive match one contact, the surest match counts.
pipedrive_people as (
    select
        contact_id,
        source_contact_id as pipedrive_contact_id,
        row_number() over (
            partition by contact_id order by confidence desc, source_contact_id asc
        ) as rank_in_contact
    from records
    where source_system = 'pipedrive'
),

-- A person whom several sources have is one row, that of the source whose id they have here.
final as (
    select
        -- keys
        records.contact_key,
        records.contact_id,
        pipedrive_people.pipedrive_contact_id,
        coalesce(accounts.account_key, {{ unknown_key() }}) as account_key,
        records.account_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        records.owner_user_id,
        records.reports_to_contact_id,
        -- what it is
        records.contact_name,
        records.first_name,
        records.last_name,
        records.email,
        records.phone,
        records.mobile_phone,
        records.title,
        records.department,
        records.lead_source,
        records.mailing_city,
        records.mailing_state,
        records.mailing_country,
        records.has_opted_out_of_email,
        -- dates
        records.created_at,
        {{ to_reporting_date('records.created_at') }} as created_date,
        records.last_activity_date,
        -- provenance
        records.source_system{{ pass_through('records') }}
    from records
    left join accounts on records.account_id = accounts.account_id
    left join users on records.owner_user_id = users.user_id
    left join pipedrive_people
        on records.contact_id = pipedrive_people.contact_id and pipedrive_people.rank_in_contact = 1
    where records.contact_id = records.source_contact_id
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
