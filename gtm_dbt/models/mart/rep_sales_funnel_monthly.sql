with

deal_steps as (
    select * from {{ ref('int_deal_funnel_steps') }}
),

funnel_steps as (
    select * from {{ ref('funnel_steps') }}
),

final as (
    select
        deal_steps.entered_month as month,  -- noqa: RF04
        funnel_steps.kpi_name,
        funnel_steps.funnel_step,
        count(*) as deals_count,
        deal_steps.source_system
    from deal_steps
    inner join funnel_steps on deal_steps.funnel_step = funnel_steps.funnel_step
    group by
        deal_steps.entered_month,
        funnel_steps.kpi_name,
        funnel_steps.funnel_step,
        deal_steps.source_system
)

select * from final
