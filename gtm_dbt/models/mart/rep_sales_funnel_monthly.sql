with

opportunity_steps as (
    select * from {{ ref('int_opportunity_funnel_steps') }}
),

funnel_steps as (
    select * from {{ ref('funnel_steps') }}
),

final as (
    select
        opportunity_steps.entered_month as month,  -- noqa: RF04
        funnel_steps.kpi_name,
        funnel_steps.funnel_step,
        count(*) as deals_count,
        opportunity_steps.source_system
    from opportunity_steps
    inner join funnel_steps on opportunity_steps.funnel_step = funnel_steps.funnel_step
    group by
        opportunity_steps.entered_month,
        funnel_steps.kpi_name,
        funnel_steps.funnel_step,
        opportunity_steps.source_system
)

select * from final
