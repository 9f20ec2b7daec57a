-- An opportunity is in one stage at any time: the first stage interval begins with its creation, each ends as the
-- next one begins, and one lasts.
{{ config(meta={'dagster': {'ref': {'name': 'fct_opportunity_stage_history'}}}) }}

with

stage_intervals as (
    select
        opportunity_id,
        interval_number,
        stage_name,
        entered_at,
        left_at,
        is_current,
        lead(entered_at) over (partition by opportunity_id order by interval_number) as next_entered_at,
        lead(stage_name) over (partition by opportunity_id order by interval_number) as next_stage_name,
        count(case when is_current then 1 end) over (partition by opportunity_id) as current_count
    from {{ ref('fct_opportunity_stage_history') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
    where source_system = 'salesforce'
)

select
    opportunities.opportunity_id,
    stage_intervals.interval_number,
    stage_intervals.entered_at,
    stage_intervals.left_at
from opportunities
left join stage_intervals on opportunities.opportunity_id = stage_intervals.opportunity_id
where
    stage_intervals.opportunity_id is null
    or stage_intervals.current_count <> 1
    or stage_intervals.left_at is distinct from stage_intervals.next_entered_at
    or (
        stage_intervals.next_entered_at is not null
        and stage_intervals.stage_name is not distinct from stage_intervals.next_stage_name
    )
    or (
        stage_intervals.interval_number = 1
        and stage_intervals.entered_at is distinct from opportunities.created_at
    )
