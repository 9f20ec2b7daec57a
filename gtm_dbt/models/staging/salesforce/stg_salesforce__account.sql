with

accounts as (
    select * from {{ ref('base_salesforce__account') }}
),

renamed as (
    select
        -- keys
        id as account_id,
        parent_id as parent_account_id,
        owner_id as owner_user_id,
        record_type_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as account_name,
        type as account_type,
        industry,
        segment_c,
        rating,
        account_source,
        website,
        phone,
        billing_street,
        billing_city,
        billing_state,
        billing_postal_code,
        billing_country,
        description,
        currency_iso_code,
        -- measures
        annual_revenue,
        number_of_employees,
        -- dates
        last_activity_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from accounts
    where not coalesce(is_deleted, false)
)

select * from renamed
