-- At each boundary that has landed, the stage by field history is the stage by the versions. Where the CRM's own
-- records contradict each other, field history has been followed: a warning says for which deals.
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
    select {{ partition_boundary('cast(_partition as date) + 1') }} as boundary_at
    from versions
    group by 1
),

stays as (
    select * from {{ ref('fct_opportunity_stage_history') }}
),

-- A boundary has thousands of deals, and few of them disagree: these are found first.
disagreements as (
    select
        followed.opportunity_id,
        followed.stage_name as stage_by_versions,
        stays.stage_name as stage_by_field_history,
        followed.system_modstamp,
        followed.next_modstamp,
        stays.entered_at,
        stays.left_at
    from followed
    inner join stays
        on
            followed.opportunity_id = stays.opportunity_id
            and (followed.next_modstamp is null or followed.next_modstamp > stays.entered_at)
            and (stays.left_at is null or followed.system_modstamp < stays.left_at)
    where
        not followed.is_deleted
        and followed.stage_name is distinct from stays.stage_name
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
