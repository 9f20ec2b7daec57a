{{
    config(
        materialized='incremental',
        unique_key='_version_hash',
        post_hook="{{ record_consumed() }}"
    )
}}

with

versions as (
    {{ lake_versions('salesforce', 'contact') }}
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
        coalesce(is_deleted, false) as is_deleted,
        _partition,
        _batch_id,
        _known_at,
        _version_hash
    from versions
),

final as (
    {{ first_sightings('renamed') }}
)

select * from final
