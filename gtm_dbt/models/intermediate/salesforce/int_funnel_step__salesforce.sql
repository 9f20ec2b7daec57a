with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

stage_intervals as (
    select * from {{ ref('fct_opportunity_stage_history') }}
),

activities as (
    select * from {{ ref('fct_activity') }}
),

steps as (
    select * from {{ ref('salesforce_funnel_steps') }}
),

stage_entries as (
    select
        stage_intervals.opportunity_id,
        steps.funnel_step,
        min(stage_intervals.entered_date) as entered_date
    from stage_intervals
    inner join steps on stage_intervals.stage_name = steps.stage_name
    where steps.funnel_step is not null
    group by stage_intervals.opportunity_id, steps.funnel_step
),

-- Calls and meetings that took place, ordered by day and end.
sales_calls as (
    select
        activities.opportunity_id,
        activities.activity_date,
        row_number() over (
            partition by activities.opportunity_id
            order by
                activities.activity_date asc,
                activities.completed_at asc nulls last,
                activities.activity_key asc
        ) as call_number
    from activities
    inner join opportunities on activities.opportunity_id = opportunities.opportunity_id
    where
        activities.activity_type in ('Call', 'Meeting')
        and activities.source_system = 'salesforce'
        and activities.is_completed
        and activities.activity_date is not null
),

sales_call_entries as (
    select
        opportunity_id,
        cast(case call_number when 1 then 2.1 else 3.1 end as decimal(3, 1)) as funnel_step,
        activity_date as entered_date
    from sales_calls
    where call_number in (1, 2)
),

entries as (
    select
        opportunity_id,
        funnel_step,
        entered_date
    from stage_entries
    union all
    select
        opportunity_id,
        funnel_step,
        entered_date
    from sales_call_entries
),

final as (
    select
        -- keys
        opportunity_id,
        -- what it is
        funnel_step,
        -- dates
        entered_date,
        -- provenance
        'salesforce' as source_system
    from entries
)

select * from final
