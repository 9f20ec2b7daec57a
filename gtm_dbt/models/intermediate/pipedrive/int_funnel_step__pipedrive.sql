with

stage_entries as (
    select * from {{ ref('int_pipedrive_deal_stage_entries') }}
),

activities as (
    select * from {{ ref('stg_pipedrive__activity') }}
),

types as (
    select * from {{ ref('pipedrive_activity_types') }}
),

-- Two stages may be the same step.
first_stage_entries as (
    select
        deal_id,
        funnel_step,
        min(first_entered_date) as entered_date
    from stage_entries
    where funnel_step is not null
    group by deal_id, funnel_step
),

completed_calls as (
    select
        activities.deal_id,
        types.funnel_step,
        {{ to_utc_date('activities.due_at') }} as due_date
    from activities
    inner join types on activities.activity_type = types.activity_type
    where
        activities.is_done
        and types.funnel_step is not null
        and activities.deal_id is not null
        and activities.due_at is not null
),

-- Each month with such a call counts, whether or not changes of the deal are known.
sales_call_entries as (
    select
        deal_id,
        funnel_step,
        min(due_date) as entered_date
    from completed_calls
    group by
        deal_id,
        funnel_step,
        {{ dbt.date_trunc('month', 'due_date') }}
),

entries as (
    select
        deal_id,
        funnel_step,
        entered_date
    from first_stage_entries
    union all
    select
        deal_id,
        funnel_step,
        entered_date
    from sales_call_entries
),

final as (
    select
        -- keys
        {{ pipedrive_id('deal_id') }} as opportunity_id,
        -- what it is
        funnel_step,
        -- dates
        entered_date,
        -- provenance
        'pipedrive' as source_system
    from entries
)

select * from final
