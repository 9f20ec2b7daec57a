with

contacts as (
    select * from {{ ref('base_salesforce__contact') }}
),

renamed as (
    select
        -- keys
        id as contact_id,
        account_id,
        owner_id as owner_user_id,
        reports_to_id as reports_to_contact_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        first_name,
        last_name,
        name as contact_name,
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
        last_activity_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from contacts
    where not coalesce(is_deleted, false)
)

select * from renamed
