with

pricebook_entries as (
    select * from {{ ref('base_salesforce__pricebook_entry') }}
),

renamed as (
    select
        -- keys
        id as pricebook_entry_id,
        pricebook_2_id as pricebook_id,
        product_2_id as product_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as pricebook_entry_name,
        product_code,
        is_active,
        use_standard_price as is_standard_price,
        currency_iso_code,
        -- measures
        unit_price,
        -- dates
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from pricebook_entries
    where not coalesce(is_deleted, false)
)

select * from renamed
