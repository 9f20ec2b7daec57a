with

changes as (
    select * from {{ ref('stg_pipedrive__deal_changes') }}
),

stages as (
    select * from {{ ref('pipedrive_stages') }}
),

first_entries as (
    select
        deal_id,
        new_stage_id as stage_id,
        min(changed_at) as first_entered_at,
        count(*) as entry_count
    from changes
    where
        deal_id is not null
        and new_stage_id is not null
    group by deal_id, new_stage_id
),

final as (
    select
        -- keys
        {{ surrogate_key(['entries.deal_id', 'entries.stage_id']) }} as deal_stage_entry_key,
        entries.deal_id,
        entries.stage_id,
        -- what it is
        stages.funnel_step,
        coalesce(stages.is_won, false) as is_won_stage,
        -- measures
        entries.entry_count,
        -- dates
        entries.first_entered_at,
        {{ to_utc_date('entries.first_entered_at') }} as first_entered_date,
        -- provenance
        'pipedrive' as source_system
    from first_entries as entries
    left join stages on entries.stage_id = stages.stage_id
)

select * from final
