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

pipedrive_entries as (
    select * from {{ ref('int_pipedrive_deal_stage_entries') }}
),

pipedrive_activities as (
    select * from {{ ref('int_pipedrive_completed_activities') }}
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

-- Calls and meetings that took place, in the order of their days, then of their ends.
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
        and activities.source_system = 'salesforce'
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

-- Two stages may be one step.
pipedrive_stage_entries as (
    select
        source_system,
        {{ pipedrive_id('deal_id') }} as deal_id,
        funnel_step,
        min(first_entered_date) as entered_date
    from pipedrive_entries
    where funnel_step is not null
    group by
        source_system,
        deal_id,
        funnel_step
),

-- In each month with such a call, whether or not the deal's changes are known.
pipedrive_sales_calls as (
    select
        source_system,
        {{ pipedrive_id('deal_id') }} as deal_id,
        funnel_step,
        min(due_date) as entered_date
    from pipedrive_activities
    where
        funnel_step is not null
        and deal_id is not null
        and due_date is not null
    group by
        source_system,
        deal_id,
        funnel_step,
        {{ dbt.date_trunc('month', 'due_date') }}
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
    union all
    select
        source_system,
        deal_id,
        funnel_step,
        entered_date
    from pipedrive_stage_entries
    union all
    select
        source_system,
        deal_id,
        funnel_step,
        entered_date
    from pipedrive_sales_calls
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
