with

products as (
    select * from {{ ref('stg_salesforce__product_2') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'product_id']) }} as product_key,
        product_id,
        -- what it is
        product_name,
        product_code,
        family,
        description,
        quantity_unit_of_measure,
        is_active,
        -- dates
        created_at,
        {{ to_reporting_date('created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through() }}
    from products
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'product_key': unknown_key(),
            'product_id': unknown_key(),
            'product_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
