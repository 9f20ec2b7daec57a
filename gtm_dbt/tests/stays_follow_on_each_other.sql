-- A deal is in one stage at any time: its stays begin with its creation, one ends as the next begins, one goes on.
{{ config(meta={'dagster': {'ref': {'name': 'fct_opportunity_stage_history'}}}) }}

with

stays as (
    select
        opportunity_id,
        stay_number,
        stage_name,
        entered_at,
        left_at,
        is_current,
        lead(entered_at) over (partition by opportunity_id order by stay_number) as next_entered_at,
        lead(stage_name) over (partition by opportunity_id order by stay_number) as next_stage_name,
        count(case when is_current then 1 end) over (partition by opportunity_id) as current_count
    from {{ ref('fct_opportunity_stage_history') }}
),

deals as (
    select * from {{ ref('fct_opportunity') }}
    where source_system = 'salesforce'
)

select
    deals.opportunity_id,
    stays.stay_number,
    stays.entered_at,
    stays.left_at
from deals
left join stays on deals.opportunity_id = stays.opportunity_id
where
    stays.opportunity_id is null
    or stays.current_count <> 1
    or stays.left_at is distinct from stays.next_entered_at
    or (stays.next_entered_at is not null and stays.stage_name is not distinct from stays.next_stage_name)
    or (stays.stay_number = 1 and stays.entered_at is distinct from deals.created_at)
