with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
    where source_system = 'salesforce'
),

field_history as (
    select * from {{ ref('stg_salesforce__opportunity_field_history') }}
),

versions as (
    select * from {{ ref('int_opportunity_versions') }}
),

stages as (
    select * from {{ ref('int_opportunity_stages') }}
),

states as (
    {{ one_at_a_time('versions', 'opportunity_id') }}
),

-- A deleted opportunity is in no stage.
present_versions as (
    select
        opportunity_id,
        stage_name,
        system_modstamp,
        last_stage_changed_at
    from states
    where not is_deleted
),

changes as (
    select
        opportunity_id,
        created_at as changed_at,
        old_value as old_stage,
        new_value as new_stage,
        opportunity_field_history_id,
        row_number() over changes_of_opportunity as change_number,
        lead(created_at) over changes_of_opportunity as next_changed_at,
        lead(old_value) over changes_of_opportunity as next_old_stage
    from field_history
    where field_name = 'StageName'
    window changes_of_opportunity as (
        partition by opportunity_id order by created_at, opportunity_field_history_id
    )
),

-- The field history of these opportunities reaches back to their creation. Of the others, Salesforce may have
-- archived the beginning.
creations as (
    select opportunity_id
    from field_history
    where field_name = 'created'
    group by opportunity_id
),

first_versions as (
    select
        opportunity_id,
        stage_name,
        system_modstamp,
        row_number() over (partition by opportunity_id order by system_modstamp) as version_number
    from present_versions
),

-- The stage at creation is the one that the first recorded change left, unless an earlier version says otherwise.
initial_stages as (
    select
        opportunities.opportunity_id,
        opportunities.created_at,
        case
            when
                changes.opportunity_id is null
                or (creations.opportunity_id is null and first_versions.system_modstamp < changes.changed_at)
                then coalesce(first_versions.stage_name, opportunities.stage_name)
            else changes.old_stage
        end as stage_name,
        changes.changed_at as next_changed_at,
        changes.old_stage as next_old_stage
    from opportunities
    left join changes on opportunities.opportunity_id = changes.opportunity_id and changes.change_number = 1
    left join creations on opportunities.opportunity_id = creations.opportunity_id
    left join first_versions
        on opportunities.opportunity_id = first_versions.opportunity_id and first_versions.version_number = 1
),

-- Each interval lies between two changes that field history records.
recorded_intervals as (
    select
        opportunity_id,
        0 as change_number,
        created_at as begins_at,
        next_changed_at as ends_at,
        stage_name as first_stage,
        next_old_stage as last_stage
    from initial_stages
    union all
    select
        opportunity_id,
        change_number,
        changed_at as begins_at,
        next_changed_at as ends_at,
        new_stage as first_stage,
        next_old_stage as last_stage
    from changes
),

-- Gaps are the interval after the last change, and intervals whose next change starts from a different stage:
-- there a change is missing.
gaps as (
    select *
    from recorded_intervals
    where ends_at is null or first_stage is distinct from last_stage
),

-- A version within a gap shows a stage that was entered there. It was entered at the version's
-- LastStageChangeDate, or, where that lies outside of the gap, at the time of the version.
inferred_entries as (
    select
        gaps.opportunity_id,
        gaps.change_number,
        case
            when
                present_versions.last_stage_changed_at > gaps.begins_at
                and present_versions.last_stage_changed_at <= present_versions.system_modstamp
                then present_versions.last_stage_changed_at
            else present_versions.system_modstamp
        end as changed_at,
        present_versions.stage_name,
        row_number() over (
            partition by gaps.opportunity_id, gaps.change_number
            order by present_versions.system_modstamp desc
        ) as rank_from_end
    from gaps
    inner join present_versions
        on
            gaps.opportunity_id = present_versions.opportunity_id
            and gaps.begins_at < present_versions.system_modstamp
            and (gaps.ends_at is null or gaps.ends_at > present_versions.system_modstamp)
),

-- Stages that only the next change names. The time at which they were entered is not known.
entries_without_time as (
    select
        gaps.opportunity_id,
        gaps.ends_at as changed_at,
        gaps.last_stage as stage_name
    from gaps
    left join inferred_entries
        on
            gaps.opportunity_id = inferred_entries.opportunity_id
            and gaps.change_number = inferred_entries.change_number
            and inferred_entries.rank_from_end = 1
    where
        gaps.ends_at is not null
        and gaps.last_stage is distinct from coalesce(inferred_entries.stage_name, gaps.first_stage)
),

entries as (
    select
        opportunity_id,
        created_at as entered_at,
        stage_name,
        'creation' as entry_source,
        0 as order_in_time,
        '' as tie_breaker
    from initial_stages
    union all
    select
        opportunity_id,
        changed_at as entered_at,
        stage_name,
        'version' as entry_source,
        1 as order_in_time,
        -- Counted down, so that the oldest version sorts first.
        cast(1000000000 - rank_from_end as {{ engine_type('varchar') }}) as tie_breaker
    from inferred_entries
    union all
    select
        opportunity_id,
        changed_at as entered_at,
        stage_name,
        'next change' as entry_source,
        2 as order_in_time,
        '' as tie_breaker
    from entries_without_time
    union all
    select
        opportunity_id,
        changed_at as entered_at,
        new_stage as stage_name,
        'field history' as entry_source,
        3 as order_in_time,
        opportunity_field_history_id as tie_breaker
    from changes
),

compared as (
    select
        *,
        row_number() over entries_of_opportunity as entry_number,
        lag(stage_name) over entries_of_opportunity as previous_stage
    from entries
    window entries_of_opportunity as (partition by opportunity_id order by entered_at, order_in_time, tie_breaker)
),

stage_intervals as (
    select
        opportunity_id,
        stage_name,
        entered_at,
        entry_source,
        row_number() over entries_of_opportunity as interval_number,
        lead(entered_at) over entries_of_opportunity as left_at,
        lead(stage_name) over entries_of_opportunity as next_stage_name
    from compared
    where entry_number = 1 or stage_name is distinct from previous_stage
    window entries_of_opportunity as (partition by opportunity_id order by entered_at, order_in_time, tie_breaker)
),

final as (
    select
        -- keys
        {{ surrogate_key(['stage_intervals.opportunity_id', 'stage_intervals.interval_number']) }}
            as opportunity_stage_history_key,
        stage_intervals.opportunity_id,
        opportunities.account_key,
        opportunities.owner_user_key,
        {{ date_key(to_reporting_date('stage_intervals.entered_at')) }} as entered_date_key,
        {{ date_key(to_reporting_date('stage_intervals.left_at')) }} as left_date_key,
        -- what it is
        stage_intervals.interval_number,
        stage_intervals.stage_name,
        stage_intervals.next_stage_name,
        stage_intervals.entry_source,
        case
            when stage_intervals.left_at is null then null
            when next_stages.is_won then 'Won'
            when next_stages.is_closed then 'Lost'
            when next_stages.sort_order > stages.sort_order then 'Forward'
            when next_stages.sort_order < stages.sort_order then 'Back'
            else 'Unknown'
        end as exit_direction,
        coalesce(stages.is_closed, false) as is_closed_stage,
        stage_intervals.left_at is null as is_current,
        -- measures
        case
            when stage_intervals.entry_source <> 'next change'
                then
                    (
                        {{ epoch_microseconds('stage_intervals.left_at') }}
                        - {{ epoch_microseconds('stage_intervals.entered_at') }}
                    )
                    / cast(86400000000 as {{ engine_type('double') }})
        end as days_in_stage,
        -- dates
        stage_intervals.entered_at,
        {{ to_reporting_date('stage_intervals.entered_at') }} as entered_date,
        stage_intervals.left_at,
        {{ to_reporting_date('stage_intervals.left_at') }} as left_date,
        -- provenance
        'salesforce' as source_system
    from stage_intervals
    inner join opportunities on stage_intervals.opportunity_id = opportunities.opportunity_id
    left join stages on stage_intervals.stage_name = stages.stage_name
    left join stages as next_stages on stage_intervals.next_stage_name = next_stages.stage_name
)

select * from final
