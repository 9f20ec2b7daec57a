-- The months of each step add up to the opportunities that ever entered it, under its name; Pipedrive's sales
-- calls add up to the months in which deals had one.
{{ config(meta={'dagster': {'ref': {'name': 'rep_sales_funnel_monthly'}}}) }}

with

reported as (
    select
        source_system,
        funnel_step,
        kpi_name,
        sum(deals_count) as deals_count
    from {{ ref('rep_sales_funnel_monthly') }}
    group by source_system, funnel_step, kpi_name
),

calls_of_deals as (
    select
        activities.source_system,
        activities.opportunity_id,
        count(*) as call_count
    from {{ ref('fct_activity') }} as activities
    inner join {{ ref('fct_opportunity') }} as opportunities
        on activities.opportunity_id = opportunities.opportunity_id
    where
        activities.activity_type in ('Call', 'Meeting')
        and activities.source_system = 'salesforce'
        and activities.is_completed
        and activities.activity_date is not null
    group by activities.source_system, activities.opportunity_id
),

ever_entered as (
    select
        stage_intervals.source_system,
        mapped.funnel_step,
        count(distinct stage_intervals.opportunity_id) as deals_count
    from {{ ref('fct_opportunity_stage_history') }} as stage_intervals
    inner join {{ ref('salesforce_funnel_steps') }} as mapped on stage_intervals.stage_name = mapped.stage_name
    where mapped.funnel_step is not null
    group by stage_intervals.source_system, mapped.funnel_step
    union all
    select
        calls_of_deals.source_system,
        steps.funnel_step,
        count(*) as deals_count
    from calls_of_deals
    inner join {{ ref('funnel_steps') }} as steps
        on
            (steps.funnel_step = 2.1 and calls_of_deals.call_count >= 1)
            or (steps.funnel_step = 3.1 and calls_of_deals.call_count >= 2)
    group by calls_of_deals.source_system, steps.funnel_step
    union all
    select
        'pipedrive' as source_system,
        mapped.funnel_step,
        count(distinct changes.deal_id) as deals_count
    from {{ ref('stg_pipedrive__deal_changes') }} as changes
    inner join {{ ref('pipedrive_stages') }} as mapped on changes.new_stage_id = mapped.stage_id
    where mapped.funnel_step is not null
    group by mapped.funnel_step
    having count(changes.deal_id) > 0
    union all
    select
        'pipedrive' as source_system,
        mapped.funnel_step,
        count(
            distinct cast(activities.deal_id as {{ engine_type('varchar') }})
            || cast(
                cast({{ dbt.date_trunc('month', to_utc_date('activities.due_at')) }} as date)
                as {{ engine_type('varchar') }}
            )
        ) as deals_count
    from {{ ref('stg_pipedrive__activity') }} as activities
    inner join {{ ref('pipedrive_activity_types') }} as mapped on activities.activity_type = mapped.activity_type
    where
        mapped.funnel_step is not null
        and activities.is_done
        and activities.deal_id is not null
        and activities.due_at is not null
    group by mapped.funnel_step
),

expected as (
    select
        ever_entered.*,
        steps.kpi_name
    from ever_entered
    inner join {{ ref('funnel_steps') }} as steps on ever_entered.funnel_step = steps.funnel_step
)

select
    coalesce(expected.source_system, reported.source_system) as source_system,
    coalesce(expected.funnel_step, reported.funnel_step) as funnel_step,
    expected.deals_count,
    reported.kpi_name as reported_kpi_name,
    reported.deals_count as reported_deals_count
from expected
full outer join reported
    on
        expected.source_system = reported.source_system
        and expected.funnel_step = reported.funnel_step
        and expected.kpi_name = reported.kpi_name
where expected.deals_count is distinct from reported.deals_count
