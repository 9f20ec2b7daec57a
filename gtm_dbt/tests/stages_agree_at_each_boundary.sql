-- At each landed boundary, field history and the versions give the same stage. Where the CRM's own records
-- contradict each other, field history is followed, and this warning lists the opportunities.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_opportunity_stage_history'}}}) }}

with

versions as (
    select * from {{ ref('int_opportunity_versions') }}
),

states as (
    {{ one_at_a_time('versions', 'opportunity_id') }}
),

followed as (
    select
        opportunity_id,
        stage_name,
        is_deleted,
        system_modstamp,
        lead(system_modstamp) over (partition by opportunity_id order by system_modstamp) as next_modstamp
    from states
),

boundaries as (
    select {{ partition_boundary('cast(_partition_key as date) + 1') }} as boundary_at
    from versions
    group by 1
),

stage_intervals as (
    select * from {{ ref('fct_opportunity_stage_history') }}
),

-- A boundary has thousands of opportunities and few of them disagree, so those that disagree are found first.
disagreements as (
    select
        followed.opportunity_id,
        followed.stage_name as stage_by_versions,
        stage_intervals.stage_name as stage_by_field_history,
        followed.system_modstamp,
        followed.next_modstamp,
        stage_intervals.entered_at,
        stage_intervals.left_at
    from followed
    inner join stage_intervals
        on
            followed.opportunity_id = stage_intervals.opportunity_id
            and (followed.next_modstamp is null or followed.next_modstamp > stage_intervals.entered_at)
            and (stage_intervals.left_at is null or followed.system_modstamp < stage_intervals.left_at)
    where
        not followed.is_deleted
        and followed.stage_name is distinct from stage_intervals.stage_name
)

select
    boundaries.boundary_at,
    disagreements.opportunity_id,
    disagreements.stage_by_versions,
    disagreements.stage_by_field_history
from disagreements
inner join boundaries
    on
        disagreements.system_modstamp < boundaries.boundary_at
        and disagreements.entered_at < boundaries.boundary_at
        and (disagreements.next_modstamp is null or disagreements.next_modstamp >= boundaries.boundary_at)
        and (disagreements.left_at is null or disagreements.left_at >= boundaries.boundary_at)
