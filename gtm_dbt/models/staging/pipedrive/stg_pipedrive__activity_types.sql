with

activity_types as (
    select * from {{ ref('base_pipedrive__activity_types') }}
),

renamed as (
    select
        -- keys
        id as activity_type_id,
        -- what it is
        type as activity_type,
        name as activity_type_name,
        active as is_active,
        -- dates
        exported_at,
        -- provenance
        _batch_id
    from activity_types
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
