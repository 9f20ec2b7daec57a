with

contacts as (
    select * from {{ ref('stg_salesforce__contact') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'contact_id']) }} as contact_key,
        contact_id,
        contact_id as source_contact_id,
        account_id,
        owner_user_id,
        reports_to_contact_id,
        -- what it is
        contact_name,
        first_name,
        last_name,
        email,
        phone,
        mobile_phone,
        title,
        department,
        lead_source,
        mailing_city,
        mailing_state,
        mailing_country,
        has_opted_out_of_email,
        -- dates
        created_at,
        last_activity_date,
        -- provenance
        'salesforce' as source_system{{ pass_through() }}
    from contacts
)

select * from final
