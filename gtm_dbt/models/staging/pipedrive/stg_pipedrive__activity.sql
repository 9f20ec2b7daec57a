with

activities as (
    select * from {{ ref('base_pipedrive__activity') }}
),

renamed as (
    select
        -- keys
        id as activity_record_id,
        activity_id,
        deal_id,
        cast(assigned_to_user as {{ engine_type('varchar') }}) as user_id,
        -- what it is
        type as activity_type,
        coalesce(done, false) as is_done,
        -- dates
        due_to as due_at,
        exported_at,
        -- provenance
        _batch_id
    from activities
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
