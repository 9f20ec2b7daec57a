with

users as (
    select * from {{ ref('base_pipedrive__users') }}
),

renamed as (
    select
        -- keys
        id as user_id,
        -- what it is
        name as user_name,
        email,
        -- dates
        modified as modified_at,
        -- provenance
        _batch_id
    from users
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
