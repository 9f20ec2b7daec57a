with

contact_histories as (
    select * from {{ ref('base_salesforce__contact_history') }}
),

renamed as (
    select
        -- keys
        id as contact_history_id,
        contact_id,
        {{ salesforce_field_change_columns() }},
        -- provenance
        _batch_id{{ pass_through() }}
    from contact_histories
    where not coalesce(is_deleted, false)
)

select * from renamed
