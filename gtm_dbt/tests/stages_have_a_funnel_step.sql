-- Every stage is in the seed salesforce_funnel_steps. A stage that is not counts in no step of the funnel: add it
-- to the seed, with its step or without one.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_opportunity_stage_history'}}}) }}

select
    stage_intervals.stage_name,
    count(distinct stage_intervals.opportunity_id) as deals_count
from {{ ref('fct_opportunity_stage_history') }} as stage_intervals
left join {{ ref('salesforce_funnel_steps') }} as mapped on stage_intervals.stage_name = mapped.stage_name
where mapped.stage_name is null
group by stage_intervals.stage_name
