with

deals as (
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

-- A deal is in no stage while it is deleted.
seen as (
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
        row_number() over (
            partition by opportunity_id order by created_at, opportunity_field_history_id
        ) as change_number,
        lead(created_at) over (
            partition by opportunity_id order by created_at, opportunity_field_history_id
        ) as next_changed_at,
        lead(old_value) over (
            partition by opportunity_id order by created_at, opportunity_field_history_id
        ) as next_old_stage
    from field_history
    where field_name = 'StageName'
),

-- With it, field history reaches back to the creation; without, its beginning may be archived.
creations as (
    select opportunity_id
    from field_history
    where field_name = 'created'
    group by opportunity_id
),

first_seen as (
    select
        opportunity_id,
        stage_name,
        system_modstamp,
        row_number() over (partition by opportunity_id order by system_modstamp) as seen_number
    from seen
),

-- The stage at creation: what the first change was from, unless an earlier version knows better.
begun as (
    select
        deals.opportunity_id,
        deals.created_at,
        case
            when
                changes.opportunity_id is null
                or (creations.opportunity_id is null and first_seen.system_modstamp < changes.changed_at)
                then coalesce(first_seen.stage_name, deals.stage_name)
            else changes.old_stage
        end as stage_name,
        changes.changed_at as next_changed_at,
        changes.old_stage as next_old_stage
    from deals
    left join changes on deals.opportunity_id = changes.opportunity_id and changes.change_number = 1
    left join creations on deals.opportunity_id = creations.opportunity_id
    left join first_seen
        on deals.opportunity_id = first_seen.opportunity_id and first_seen.seen_number = 1
),

-- From one change that field history knows to the next.
stretches as (
    select
        opportunity_id,
        0 as change_number,
        created_at as begins_at,
        next_changed_at as ends_at,
        stage_name as first_stage,
        next_old_stage as last_stage
    from begun
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

-- The last one, and those whose next change is from another stage than this one was to: one was not recorded.
gaps as (
    select *
    from stretches
    where ends_at is null or first_stage is distinct from last_stage
),

-- What versions say there. The change lies where the version says, unless that is outside of the gap.
fillings as (
    select
        gaps.opportunity_id,
        gaps.change_number,
        case
            when
                seen.last_stage_changed_at > gaps.begins_at
                and seen.last_stage_changed_at <= seen.system_modstamp
                then seen.last_stage_changed_at
            else seen.system_modstamp
        end as changed_at,
        seen.stage_name,
        row_number() over (
            partition by gaps.opportunity_id, gaps.change_number
            order by seen.system_modstamp desc
        ) as rank_from_end
    from gaps
    inner join seen
        on
            gaps.opportunity_id = seen.opportunity_id
            and gaps.begins_at < seen.system_modstamp
            and (gaps.ends_at is null or gaps.ends_at > seen.system_modstamp)
),

-- A stage that is known from its end alone: when it was entered is not known.
half_known as (
    select
        gaps.opportunity_id,
        gaps.ends_at as changed_at,
        gaps.last_stage as stage_name
    from gaps
    left join fillings
        on
            gaps.opportunity_id = fillings.opportunity_id
            and gaps.change_number = fillings.change_number
            and fillings.rank_from_end = 1
    where
        gaps.ends_at is not null
        and gaps.last_stage is distinct from coalesce(fillings.stage_name, gaps.first_stage)
),

entries as (
    select
        opportunity_id,
        created_at as entered_at,
        stage_name,
        'creation' as entry_source,
        0 as order_in_time,
        '' as tie_breaker
    from begun
    union all
    select
        opportunity_id,
        changed_at as entered_at,
        stage_name,
        'version' as entry_source,
        1 as order_in_time,
        -- Ascending is from the oldest on.
        cast(1000000000 - rank_from_end as varchar) as tie_breaker
    from fillings
    union all
    select
        opportunity_id,
        changed_at as entered_at,
        stage_name,
        'next change' as entry_source,
        2 as order_in_time,
        '' as tie_breaker
    from half_known
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
        row_number() over (
            partition by opportunity_id order by entered_at, order_in_time, tie_breaker
        ) as entry_number,
        lag(stage_name) over (
            partition by opportunity_id order by entered_at, order_in_time, tie_breaker
        ) as previous_stage
    from entries
),

stays as (
    select
        opportunity_id,
        stage_name,
        entered_at,
        entry_source,
        row_number() over (
            partition by opportunity_id order by entered_at, order_in_time, tie_breaker
        ) as stay_number,
        lead(entered_at) over (
            partition by opportunity_id order by entered_at, order_in_time, tie_breaker
        ) as left_at,
        lead(stage_name) over (
            partition by opportunity_id order by entered_at, order_in_time, tie_breaker
        ) as next_stage_name
    from compared
    where entry_number = 1 or stage_name is distinct from previous_stage
),

final as (
    select
        -- keys
        {{ surrogate_key(['stays.opportunity_id', 'stays.stay_number']) }} as opportunity_stage_history_key,
        stays.opportunity_id,
        deals.account_key,
        deals.owner_user_key,
        {{ date_key(to_reporting_date('stays.entered_at')) }} as entered_date_key,
        {{ date_key(to_reporting_date('stays.left_at')) }} as left_date_key,
        -- what it is
        stays.stay_number,
        stays.stage_name,
        stays.next_stage_name,
        stays.entry_source,
        case
            when stays.left_at is null then null
            when next_stages.is_won then 'Won'
            when next_stages.is_closed then 'Lost'
            when next_stages.sort_order > stages.sort_order then 'Forward'
            when next_stages.sort_order < stages.sort_order then 'Back'
            else 'Unknown'
        end as left_to,
        coalesce(stages.is_closed, false) as is_closed_stage,
        stays.left_at is null as is_current,
        -- measures
        case
            when stays.entry_source <> 'next change'
                then
                    ({{ epoch_microseconds('stays.left_at') }} - {{ epoch_microseconds('stays.entered_at') }})
                    / cast(86400000000 as double)
        end as days_in_stage,
        -- dates
        stays.entered_at,
        {{ to_reporting_date('stays.entered_at') }} as entered_date,
        stays.left_at,
        {{ to_reporting_date('stays.left_at') }} as left_date,
        -- provenance
        'salesforce' as source_system
    from stays
    inner join deals on stays.opportunity_id = deals.opportunity_id
    left join stages on stays.stage_name = stages.stage_name
    left join stages as next_stages on stays.next_stage_name = next_stages.stage_name
)

select * from final
