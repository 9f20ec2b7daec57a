with

leads as (
    select * from {{ ref('base_salesforce__lead') }}
),

renamed as (
    select
        -- keys
        id as lead_id,
        owner_id as owner_user_id,
        converted_account_id,
        converted_contact_id,
        converted_opportunity_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        first_name,
        last_name,
        name as lead_name,
        company,
        email,
        phone,
        title,
        lead_source,
        status as lead_status,
        rating,
        industry,
        country,
        is_converted,
        -- measures
        number_of_employees,
        annual_revenue,
        -- dates
        converted_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from leads
    where not coalesce(is_deleted, false)
)

select * from renamed
