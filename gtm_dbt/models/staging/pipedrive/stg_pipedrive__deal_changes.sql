with

changes as (
    select * from {{ ref('base_pipedrive__deal_changes') }}
),

renamed as (
    select
        -- keys
        id as deal_change_id,
        deal_id,
        -- what it is
        changed_field_key,
        new_value,
        case when changed_field_key = 'stage_id' then {{ whole_number('new_value') }} end as new_stage_id,
        case when changed_field_key = 'user_id' then {{ whole_number('new_value') }} end as new_user_id,
        -- dates
        change_time as changed_at,
        -- provenance
        _batch_id
    from changes
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
