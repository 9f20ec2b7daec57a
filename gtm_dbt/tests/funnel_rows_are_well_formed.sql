-- There is one row per month, step and source. The month is the first day of a month, the step is one of the
-- funnel and has its name, which begins with its number, and each row counts at least one opportunity.
{{ config(meta={'dagster': {'ref': {'name': 'rep_sales_funnel_monthly'}}}) }}

with

numbered as (
    select
        *,
        row_number() over (partition by month, funnel_step, source_system order by kpi_name) as copy_number,
        case
            when funnel_step = floor(funnel_step)
                then cast(cast(funnel_step as integer) as {{ engine_type('varchar') }})
            else cast(funnel_step as {{ engine_type('varchar') }})
        end as step_number
    from {{ ref('rep_sales_funnel_monthly') }}
)

select
    numbered.month,
    numbered.funnel_step,
    numbered.kpi_name,
    numbered.source_system,
    numbered.deals_count
from numbered
left join {{ ref('funnel_steps') }} as steps
    on numbered.funnel_step = steps.funnel_step and numbered.kpi_name = steps.kpi_name
where
    numbered.copy_number > 1
    or numbered.month is null
    or extract(day from numbered.month) <> 1
    or steps.funnel_step is null
    or numbered.kpi_name not like 'Step ' || numbered.step_number || ': %'
    or numbered.deals_count is null
    or numbered.deals_count < 1
    or numbered.source_system is null
