with

entries as (
    {{ union_of_sources('funnel_step') }}
),

dated as (
    select
        *,
        cast({{ dbt.date_trunc('month', 'entered_date') }} as date) as entered_month
    from entries
),

final as (
    select
        -- keys
        {{ surrogate_key(['source_system', 'opportunity_id', 'funnel_step', 'entered_month']) }}
            as opportunity_funnel_step_key,
        opportunity_id,
        -- what it is
        funnel_step,
        -- dates
        entered_month,
        entered_date,
        -- provenance
        source_system
    from dated
)

select * from final
