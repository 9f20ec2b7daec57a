with

users as (
    select * from {{ ref('base_salesforce__user') }}
),

renamed as (
    select
        -- keys
        id as user_id,
        {{ salesforce_user_columns() }},
        -- provenance
        _batch_id{{ pass_through() }}
    from users
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
