with

lines as (
    select * from {{ ref('stg_salesforce__opportunity_line_item') }}
),

pricebook_entries as (
    select * from {{ ref('stg_salesforce__pricebook_entry') }}
),

pricebooks as (
    select * from {{ ref('stg_salesforce__pricebook_2') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

products as (
    select * from {{ ref('dim_product') }}
),

-- A line names its product itself, or through its price book entry.
with_product as (
    select
        lines.*,
        coalesce(lines.product_id, pricebook_entries.product_id) as line_product_id,
        pricebook_entries.pricebook_id,
        pricebooks.pricebook_name
    from lines
    left join pricebook_entries on lines.pricebook_entry_id = pricebook_entries.pricebook_entry_id
    left join pricebooks on pricebook_entries.pricebook_id = pricebooks.pricebook_id
),

final as (
    select
        -- keys
        with_product.opportunity_line_item_id,
        with_product.opportunity_id,
        coalesce(products.product_key, {{ unknown_key() }}) as product_key,
        with_product.line_product_id as product_id,
        with_product.pricebook_entry_id,
        with_product.pricebook_id,
        coalesce(opportunities.account_key, {{ unknown_key() }}) as account_key,
        coalesce(opportunities.owner_user_key, {{ unknown_key() }}) as owner_user_key,
        {{ date_key('with_product.service_date') }} as service_date_key,
        -- what it is
        with_product.opportunity_line_item_name,
        with_product.pricebook_name,
        with_product.currency_iso_code,
        -- measures, in the record's currency
        with_product.quantity,
        with_product.unit_price,
        with_product.list_price,
        with_product.discount,
        with_product.total_price,
        -- dates
        with_product.service_date,
        with_product.created_at,
        {{ to_reporting_date('with_product.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('with_product') }}
    from with_product
    left join products on with_product.line_product_id = products.product_id
    left join opportunities on with_product.opportunity_id = opportunities.opportunity_id
)

select * from final
