with

contacts as (
    select * from {{ ref('base_salesforce__contact') }}
),

renamed as (
    select
        -- keys
        id as contact_id,
        {{ salesforce_contact_columns() }},
        -- provenance
        _batch_id{{ pass_through() }}
    from contacts
    where not coalesce(is_deleted, false)
)

select * from renamed
