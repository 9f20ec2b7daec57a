with

opportunity_line_items as (
    select * from {{ ref('base_salesforce__opportunity_line_item') }}
),

renamed as (
    select
        -- keys
        id as opportunity_line_item_id,
        opportunity_id,
        pricebook_entry_id,
        product_2_id as product_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as opportunity_line_item_name,
        description,
        currency_iso_code,
        -- measures
        quantity,
        unit_price,
        list_price,
        discount,
        total_price,
        -- dates
        service_date,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from opportunity_line_items
    where not coalesce(is_deleted, false)
)

select * from renamed
