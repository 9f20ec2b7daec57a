-- A stage that the seed does not name counts in no step of the funnel: a warning says which. Add it to the seed,
-- with its step or with none.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_opportunity_stage_history'}}}) }}

select
    stays.stage_name,
    count(distinct stays.opportunity_id) as deals_count
from {{ ref('fct_opportunity_stage_history') }} as stays
left join {{ ref('salesforce_funnel_steps') }} as mapped on stays.stage_name = mapped.stage_name
where mapped.stage_name is null
group by stays.stage_name
