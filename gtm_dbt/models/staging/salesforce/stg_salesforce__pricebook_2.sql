with

pricebooks as (
    select * from {{ ref('base_salesforce__pricebook_2') }}
),

renamed as (
    select
        -- keys
        id as pricebook_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        name as pricebook_name,
        description,
        is_active,
        is_standard,
        -- dates
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from pricebooks
    where not coalesce(is_deleted, false)
)

select * from renamed
