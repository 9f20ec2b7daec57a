with

stages as (
    select * from {{ ref('base_pipedrive__stages') }}
),

renamed as (
    select
        -- keys
        stage_id,
        -- what it is
        stage_name,
        -- dates
        exported_at,
        -- provenance
        _batch_id
    from stages
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
