with

changes as (
    select * from {{ ref('fct_pipeline_change') }}
),

periods as (
    select * from {{ ref('int_pipeline_periods') }}
),

-- A close date that moves and stays on one side of the period's end takes as much as it brings.
by_period as (
    select
        periods.pipeline_period_key,
        periods.period_type,
        periods.period_name,
        periods.period_start_date,
        periods.period_end_date,
        periods.is_period_over,
        changes.opportunity_id,
        changes.owner_user_key,
        changes.account_key,
        changes.movement,
        {{ is_due_by('changes.close_date', 'periods.period_end_date') }} as is_due,
        changes.source_system,
        {{ total('sum(changes.amount)') }} as amount,
        cast(sum(changes.opportunity_count) as bigint) as opportunity_count,
        max(changes.date_day) as last_changed_date
    from changes
    inner join periods on changes.date_day > periods.opening_day and changes.date_day <= periods.closing_day
    group by
        periods.pipeline_period_key,
        periods.period_type,
        periods.period_name,
        periods.period_start_date,
        periods.period_end_date,
        periods.is_period_over,
        changes.opportunity_id,
        changes.owner_user_key,
        changes.account_key,
        changes.movement,
        {{ is_due_by('changes.close_date', 'periods.period_end_date') }},
        changes.source_system
),

final as (
    select
        -- keys
        {{
            surrogate_key([
                'pipeline_period_key', 'opportunity_id', 'movement', 'owner_user_key', 'cast(is_due as integer)',
            ])
        }} as pipeline_movement_key,
        pipeline_period_key,
        opportunity_id,
        account_key,
        owner_user_key,
        -- what it is
        period_type,
        period_name,
        movement,
        is_due,
        is_period_over,
        -- measures
        amount,
        opportunity_count,
        -- dates
        period_start_date,
        period_end_date,
        last_changed_date,
        -- provenance
        source_system
    from by_period
    where amount <> 0 or opportunity_count <> 0
)

select * from final
