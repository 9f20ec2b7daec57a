with

fields as (
    select * from {{ ref('base_pipedrive__fields') }}
),

renamed as (
    select
        -- keys
        id as field_id,
        -- what it is
        field_key,
        name as field_name,
        field_value_options,
        -- dates
        exported_at,
        -- provenance
        _batch_id
    from fields
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
