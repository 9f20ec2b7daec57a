with

opportunities as (
    select * from {{ ref('base_salesforce__opportunity') }}
),

renamed as (
    select
        -- keys
        id as opportunity_id,
        {{ salesforce_opportunity_columns() }},
        -- of staging alone
        description,
        fiscal_quarter,
        fiscal_year,
        -- provenance
        _batch_id{{ pass_through() }}
    from opportunities
    where not coalesce(is_deleted, false)
)

select * from renamed
