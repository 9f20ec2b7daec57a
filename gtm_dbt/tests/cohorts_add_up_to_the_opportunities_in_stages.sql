-- Over all months of creation an open stage was entered by as many opportunities as the stage intervals name, and
-- what became of them adds up to them; the months have all opportunities that were created, once each.
{{ config(meta={'dagster': {'ref': {'name': 'rep_stage_conversion'}}}) }}

with

cohorts as (
    select * from {{ ref('rep_stage_conversion') }}
),

entered as (
    select
        coalesce(stage_name, '') as stage_name,
        count(distinct opportunity_id) as entered_count
    from {{ ref('fct_opportunity_stage_history') }}
    where not is_closed_stage
    group by coalesce(stage_name, '')
),

summed as (
    select
        coalesce(stage_name, '') as stage_name,
        sum(entered_count) as entered_count
    from cohorts
    group by coalesce(stage_name, '')
),

created as (
    select
        cast({{ dbt.date_trunc('month', 'created_date') }} as date) as cohort_month,
        source_system,
        count(*) as opportunity_count
    from {{ ref('fct_opportunity') }}
    group by cast({{ dbt.date_trunc('month', 'created_date') }} as date), source_system
)

select
    'stage ' || coalesce(entered.stage_name, summed.stage_name) as found_in,
    summed.entered_count as of_report,
    entered.entered_count as of_core
from entered
full outer join summed on entered.stage_name = summed.stage_name
where entered.entered_count is distinct from summed.entered_count
union all
select
    'outcomes of ' || stage_conversion_key as found_in,
    entered_count as of_report,
    won_count + lost_count + open_count as of_core
from cohorts
where entered_count <> won_count + lost_count + open_count or advanced_count > entered_count
union all
select
    'cohort of ' || cohorts.stage_conversion_key as found_in,
    cohorts.cohort_count as of_report,
    created.opportunity_count as of_core
from cohorts
left join created
    on cohorts.cohort_month = created.cohort_month and cohorts.source_system = created.source_system
where cohorts.cohort_count is distinct from created.opportunity_count
