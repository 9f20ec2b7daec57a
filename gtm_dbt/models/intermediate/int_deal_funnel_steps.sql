with

deals as (
    select * from {{ ref('fct_opportunity') }}
),

stays as (
    select * from {{ ref('fct_opportunity_stage_history') }}
),

activities as (
    select * from {{ ref('fct_activity') }}
),

salesforce_steps as (
    select * from {{ ref('salesforce_funnel_steps') }}
),

stage_entries as (
    select
        stays.source_system,
        stays.opportunity_id as deal_id,
        salesforce_steps.funnel_step,
        min(stays.entered_date) as entered_date
    from stays
    inner join salesforce_steps on stays.stage_name = salesforce_steps.stage_name
    where salesforce_steps.funnel_step is not null
    group by
        stays.source_system,
        stays.opportunity_id,
        salesforce_steps.funnel_step
),

-- Calls and meetings that took place, in the order in which they ended.
sales_calls as (
    select
        activities.source_system,
        activities.opportunity_id as deal_id,
        activities.activity_date,
        row_number() over (
            partition by activities.opportunity_id
            order by
                activities.activity_date asc,
                activities.completed_at asc nulls last,
                activities.activity_key asc
        ) as call_number
    from activities
    inner join deals on activities.opportunity_id = deals.opportunity_id
    where
        activities.activity_type in ('Call', 'Meeting')
        and activities.is_completed
        and activities.activity_date is not null
),

sales_call_entries as (
    select
        source_system,
        deal_id,
        cast(case call_number when 1 then 2.1 else 3.1 end as decimal(3, 1)) as funnel_step,
        activity_date as entered_date
    from sales_calls
    where call_number in (1, 2)
),

entries as (
    select
        source_system,
        deal_id,
        funnel_step,
        entered_date
    from stage_entries
    union all
    select
        source_system,
        deal_id,
        funnel_step,
        entered_date
    from sales_call_entries
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
        {{ surrogate_key(['source_system', 'deal_id', 'funnel_step', 'entered_month']) }} as deal_funnel_step_key,
        deal_id,
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
