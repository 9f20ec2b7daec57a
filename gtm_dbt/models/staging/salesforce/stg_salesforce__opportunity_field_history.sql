with

opportunity_field_histories as (
    select * from {{ ref('base_salesforce__opportunity_field_history') }}
),

renamed as (
    select
        -- keys
        id as opportunity_field_history_id,
        opportunity_id,
        {{ salesforce_field_change_columns() }},
        -- provenance
        _batch_id{{ pass_through() }}
    from opportunity_field_histories
    where not coalesce(is_deleted, false)
)

select * from renamed
