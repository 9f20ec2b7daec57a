-- The report counts each opportunity that entered a stage, and its rates lie between 0 and 1.
{{ config(meta={'dagster': {'ref': {'name': 'rep_sales_velocity'}}}) }}

with

reported as (
    select
        stage_name,
        sum(entered_count) as entered_count
    from {{ ref('rep_sales_velocity') }}
    group by stage_name
),

entries as (
    select
        stage_name,
        opportunity_id,
        {{ dbt.date_trunc('month', 'entered_date') }} as entry_month
    from {{ ref('fct_opportunity_stage_history') }}
    where not is_closed_stage
    group by
        stage_name,
        opportunity_id,
        {{ dbt.date_trunc('month', 'entered_date') }}
),

entered as (
    select
        stage_name,
        count(*) as entered_count
    from entries
    group by stage_name
)

select
    entered.stage_name,
    entered.entered_count,
    reported.entered_count as reported_count
from entered
full outer join reported on coalesce(entered.stage_name, '') = coalesce(reported.stage_name, '')
where entered.entered_count is distinct from reported.entered_count
union all
select
    stage_name,
    entered_count,
    left_forward_count
from {{ ref('rep_sales_velocity') }}
where
    conversion_rate not between 0 and 1
    or win_rate_by_count not between 0 and 1
    or (deals_won_count > 0 and deals_lost_count = 0 and win_rate_by_count <> 1)
    or (velocity_per_day < 0 and won_amount >= 0)
