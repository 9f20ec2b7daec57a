with

products as (
    select * from {{ ref('base_salesforce__product_2') }}
),

renamed as (
    select
        -- keys
        id as product_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as product_name,
        product_code,
        family,
        description,
        quantity_unit_of_measure,
        is_active,
        -- dates
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from products
    where not coalesce(is_deleted, false)
)

select * from renamed
