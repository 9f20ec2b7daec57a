-- At each landed boundary, what field history tells of the stage, amount, close date and owner of an opportunity
-- with observed days is what its version shows, so that days that are rebuilt from field history are as they would
-- have been observed. This warning counts the opportunities that differ, by column and finding: where the org does
-- not track a field, field history has no change of it, and days that are rebuilt have the value of the first
-- version. Where field history tells another value, the version that had it may never have been read, as a newer
-- one came before.
{% set columns = columns_of_history() %}
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_opportunity_history'}}}) }}

with

-- The others closed before the first landed boundary, and nothing was observed of them.
opportunities as (
    select opportunity_id
    from {{ ref('fct_opportunity_history') }}
    where is_observed
    group by opportunity_id
),

versions as (
    select versions.*
    from {{ ref('int_opportunity_versions') }} as versions
    inner join opportunities on versions.opportunity_id = opportunities.opportunity_id
),

changes as (
    select changes.*
    from {{ ref('int_opportunity_field_changes') }} as changes
    inner join opportunities on changes.opportunity_id = opportunities.opportunity_id
),

first_versions as (
    {{ first_versions('versions') }}
),

instants as (
    select
        opportunity_id,
        created_at as instant
    from first_versions
    where created_at is not null
),

values_by_history as (
    {{ values_by_history('instants', 'changes') }}
),

rebuilt as (
    select
        {% for column in columns %}
            {{ value_by_history(column) }} as {{ column }},
            values_by_history.{{ column }}_first_changed_at is null as {{ column }}_is_untracked,
        {% endfor %}
        values_by_history.opportunity_id,
        values_by_history.begins_at,
        values_by_history.ends_at
    from values_by_history
    inner join first_versions on values_by_history.opportunity_id = first_versions.opportunity_id
    where not first_versions.is_deleted
),

states as (
    {{ one_at_a_time('versions', 'opportunity_id') }}
),

observed as (
    select
        states.*,
        lead(states.system_modstamp) over (
            partition by states.opportunity_id order by states.system_modstamp
        ) as next_modstamp
    from states
),

boundaries as (
    select {{ partition_boundary('cast(_partition_key as date) + 1') }} as boundary_at
    from versions
    group by _partition_key
),

-- A boundary has thousands of opportunities and few of them differ, so those that differ are found first.
different as (
    {% for column in columns %}
        select
            '{{ column }}' as column_name,
            rebuilt.{{ column }}_is_untracked as is_untracked,
            rebuilt.opportunity_id,
            cast(observed.{{ column }} as {{ engine_type('varchar') }}) as observed_value,
            cast(rebuilt.{{ column }} as {{ engine_type('varchar') }}) as rebuilt_value,
            greatest(observed.system_modstamp, rebuilt.begins_at) as begins_at,
            least(observed.next_modstamp, rebuilt.ends_at) as ends_at
        from rebuilt
        inner join observed
            on
                rebuilt.opportunity_id = observed.opportunity_id
                and (observed.next_modstamp is null or rebuilt.begins_at < observed.next_modstamp)
                and (rebuilt.ends_at is null or rebuilt.ends_at > observed.system_modstamp)
        where
            not observed.is_deleted
            and observed.{{ column }} is distinct from rebuilt.{{ column }}
        {% if not loop.last %}
            union all
        {% endif %}
    {% endfor %}
),

different_at_boundaries as (
    select
        different.*,
        boundaries.boundary_at,
        row_number() over (
            partition by different.column_name, different.is_untracked
            order by boundaries.boundary_at, different.opportunity_id
        ) as rank_in_finding
    from different
    inner join boundaries
        on
            different.begins_at < boundaries.boundary_at
            and (different.ends_at is null or different.ends_at >= boundaries.boundary_at)
)

select
    column_name,
    case
        when is_untracked then 'field history has no change of it'
        else 'field history tells another value'
    end as finding,
    count(distinct opportunity_id) as opportunity_count,
    count(*) as boundary_count,
    min(boundary_at) as first_boundary_at,
    max(boundary_at) as last_boundary_at,
    max(case when rank_in_finding = 1 then opportunity_id end) as first_opportunity_id,
    max(case when rank_in_finding = 1 then observed_value end) as observed_value,
    max(case when rank_in_finding = 1 then rebuilt_value end) as rebuilt_value
from different_at_boundaries
group by column_name, is_untracked
