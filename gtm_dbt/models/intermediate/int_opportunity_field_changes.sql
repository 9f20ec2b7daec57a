with

changes as (
    select * from {{ ref('stg_salesforce__opportunity_field_history') }}
),

-- A change of owner is two rows: one has the users' names, one their ids.
tracked as (
    select
        *,
        case
            when field_name = 'StageName' then 'stage_name'
            when field_name = 'Amount' then 'amount'
            when field_name = 'CloseDate' then 'close_date'
            when field_name in ('Owner', 'OwnerId') and field_data_type = 'EntityId' then 'owner_user_id'
        end as column_name
    from changes
),

final as (
    select
        -- keys
        opportunity_field_history_id,
        opportunity_id,
        -- what it is
        column_name,
        old_value,
        new_value,
        case when column_name = 'amount' then {{ decimal_number('old_value') }} end as old_amount,
        case when column_name = 'amount' then {{ decimal_number('new_value') }} end as new_amount,
        case when column_name = 'close_date' then {{ written_date('old_value') }} end as old_close_date,
        case when column_name = 'close_date' then {{ written_date('new_value') }} end as new_close_date,
        -- dates
        created_at as changed_at
    from tracked
    where column_name is not null
)

select * from final
