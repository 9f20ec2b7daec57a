{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='opportunity_day_key',
        post_hook="{{ record_consumed([
            'int_opportunity_versions',
            'base_salesforce__opportunity_field_history',
            'base_salesforce__opportunity_stage',
        ]) }}"
    )
}}
-- Which days are built again depends on them:
-- depends_on: {{ ref('base_salesforce__opportunity_field_history') }}
-- depends_on: {{ ref('base_salesforce__opportunity_stage') }}

with

versions as (
    select * from {{ ref('int_opportunity_versions') }}
),

changes as (
    select * from {{ ref('int_opportunity_field_changes') }}
),

stages as (
    select * from {{ ref('int_opportunity_stages') }}
),

users as (
    select
        user_id,
        {{ surrogate_key(["'salesforce'", 'user_id']) }} as user_key
    from {{ ref('stg_salesforce__user') }}
),

-- Days are observed from the first landed boundary to today; those before it are rebuilt. For an external table
-- they begin with the first version that its loader kept, and nothing is rebuilt; one without history mode has no
-- days before today.
bounds as (
    select
        {% if not keeps_history('salesforce', 'opportunity') %}
            max({{ to_reporting_date(as_of()) }}) as first_day,
        {% elif is_external_history('salesforce', 'opportunity') %}
            least(
                min({{ to_reporting_date('system_modstamp') }}), max({{ to_reporting_date(as_of()) }})
            ) as first_day,
        {% else %}
            {{ to_reporting_date(partition_boundary('cast(min(_partition_key) as date) + 1')) }} as first_day,
        {% endif %}
        max({{ to_reporting_date(as_of()) }}) as last_day
    from versions
),

{% if is_incremental() %}
    built as (
        select
            opportunity_day_key,
            opportunity_id,
            date_day,
            owner_user_key,
            owner_user_id,
            stage_name,
            is_closed,
            is_observed
        from {{ this }}
    ),

    built_days as (
        select
            min(case when is_observed then date_day end) as first_observed_day,
            max(date_day) as last_day
        from built
    ),

    -- Changes that are new; deleted ones too, for what they said is taken back.
    new_changes as (
        select opportunity_id
        from {{ ref('base_salesforce__opportunity_field_history') }}
        where _batch_id in ({{ unconsumed_batches('base_salesforce__opportunity_field_history') }})
    ),

    new_stages as (
        select id
        from {{ ref('base_salesforce__opportunity_stage') }}
        where _batch_id in ({{ unconsumed_batches('base_salesforce__opportunity_stage') }})
    ),

    -- A row where any day that is rebuilt may be another: stages that are set up have changed, or a batch has come
    -- behind one already consumed.
    changed_past as (
        select bounds.first_day
        from bounds
        where
            exists (select 1 from new_stages)
            or {{ has_late_batch('base_salesforce__opportunity_stage') }}
            or {{ has_late_batch('base_salesforce__opportunity_field_history') }}
    ),

    -- Opportunities of which there are new versions or changes, and those whose owner appeared or disappeared.
    -- Also those with days in a stage that is not set up and that a new version says something of, and all of them
    -- if the past may be another, or observed days now begin earlier.
    touched as (
        select versions.opportunity_id
        from versions
        where versions._batch_id in ({{ unconsumed_batches('int_opportunity_versions') }})
        union
        select new_changes.opportunity_id
        from new_changes
        union
        select built.opportunity_id
        from built
        left join users on built.owner_user_id = users.user_id
        where (users.user_id is null) <> (built.owner_user_key = {{ unknown_key() }})
        union
        select built.opportunity_id
        from built
        where
            not built.is_observed
            and built.stage_name in (
                select versions.stage_name
                from versions
                inner join stages on versions.stage_name = stages.stage_name
                where
                    stages.sort_order is null
                    and versions._batch_id in ({{ unconsumed_batches('int_opportunity_versions') }})
            )
        union
        select versions.opportunity_id
        from versions
        cross join built_days
        cross join bounds
        where built_days.last_day is null or bounds.first_day < built_days.first_observed_day
        union
        select versions.opportunity_id
        from versions
        cross join changed_past
    ),

    -- Also opportunities that gain days: open ones, and those dated after the last build.
    candidates as (
        select touched.opportunity_id
        from touched
        union
        select built.opportunity_id
        from built
        inner join built_days on built.date_day = built_days.last_day
        where not built.is_closed
        union
        select versions.opportunity_id
        from versions
        cross join built_days
        where
            {{ to_reporting_date('versions.system_modstamp') }} > built_days.last_day
            or {{ to_reporting_date('versions.created_at') }} > built_days.last_day
    ),

    -- All days of a changed opportunity are built again, so that days that it no longer has are removed.
    gone as (
        select built.opportunity_day_key
        from built
        where built.opportunity_id in (select touched.opportunity_id from touched)
    ),
{% endif %}

candidate_versions as (
    select versions.*
    from versions
    {% if is_incremental() %}
        where versions.opportunity_id in (select candidates.opportunity_id from candidates)
    {% endif %}
),

candidate_changes as (
    select changes.*
    from changes
    {% if is_incremental() %}
        where changes.opportunity_id in (select candidates.opportunity_id from candidates)
    {% endif %}
),

versions_before as (
    {{ rebuilt_versions('candidate_versions', 'candidate_changes', 'stages') }}
),

{% set columns -%}
    opportunity_id, account_id, owner_user_id, stage_name, forecast_category, is_closed, is_won, currency_iso_code,
        amount, probability, close_date, last_activity_date, created_at, system_modstamp, is_deleted, _partition_key,
        _version_hash
{%- endset %}
all_versions as (
    select
        {{ columns }}
    from versions_before
    union all
    select
        {{ columns }}
    from candidate_versions
),

states as (
    {{
        scd_type_2(
            'all_versions',
            id='opportunity_id',
            tracked=[
                'account_id', 'owner_user_id', 'stage_name', 'forecast_category', 'is_closed', 'is_won',
                'currency_iso_code', 'amount', 'probability', 'close_date', 'last_activity_date',
            ],
            carried=['created_at']
        )
    }}
),

first_seen as (
    select
        opportunity_id,
        {{ to_reporting_date('min(system_modstamp)') }} as first_seen_day
    from candidate_versions
    group by opportunity_id
),

-- A day is observed from the first version on. In history mode of an external table the days of each opportunity
-- begin with its own first version, because the loader did not begin to keep versions of all opportunities on one
-- day.
dated as (
    select
        states.*,
        {{ is_closed_opportunity('states.is_closed', 'states.is_won') }} as is_closed_opportunity,
        {{ to_reporting_date('states.valid_from') }} as from_day,
        {{ to_reporting_date('states.valid_to') }} as next_from_day,
        {% if not keeps_history('salesforce', 'opportunity') %}
            bounds.first_day as known_from_day,
        {% elif is_external_history('salesforce', 'opportunity') %}
            least(first_seen.first_seen_day, bounds.last_day) as known_from_day,
        {% else %}
            {{ to_reporting_date('states.valid_from') }} as known_from_day,
        {% endif %}
        greatest(first_seen.first_seen_day, bounds.first_day) as observed_from_day
    from states
    cross join bounds
    inner join first_seen on states.opportunity_id = first_seen.opportunity_id
),

-- The states that were in force at the end of some day.
end_of_day_states as (
    select
        *,
        lag(is_closed_opportunity) over (partition by opportunity_id order by valid_from) as was_closed
    from dated
    where next_from_day is null or next_from_day > from_day
),

-- The days for which a state gives rows: an open opportunity has one for each day, and a closed one for the day on
-- which it closed. A deleted opportunity has none until it is restored.
active_ranges as (
    select
        end_of_day_states.*,
        case
            when not end_of_day_states.is_closed_opportunity
                then coalesce(end_of_day_states.next_from_day - 1, bounds.last_day)
            else end_of_day_states.from_day
        end as to_day
    from end_of_day_states
    cross join bounds
    where
        not end_of_day_states.is_deleted
        and not (end_of_day_states.is_closed_opportunity and coalesce(end_of_day_states.was_closed, false))
),

first_range as (
    select min(greatest(from_day, known_from_day)) as first_day from active_ranges
),

days as (
    {{ date_spine('(select first_day from first_range)', '(select last_day from bounds)') }}
),

opportunities_by_day as (
    select
        active_ranges.*,
        days.date_day,
        days.date_day >= active_ranges.observed_from_day as is_observed
    from active_ranges
    inner join days
        on
            active_ranges.from_day <= days.date_day
            and active_ranges.to_day >= days.date_day
            and active_ranges.known_from_day <= days.date_day
    {% if is_incremental() %}
        cross join built_days
        where
            active_ranges.opportunity_id in (select touched.opportunity_id from touched)
            or days.date_day > built_days.last_day
    {% endif %}
),

final as (
    select
        -- keys
        {{ surrogate_key(['opportunities.opportunity_id', date_key('opportunities.date_day')]) }}
            as opportunity_day_key,
        opportunities.opportunity_id,
        {{ date_key('opportunities.date_day') }} as date_key,
        {{ date_key('opportunities.close_date') }} as close_date_key,
        opportunities.account_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        opportunities.owner_user_id,
        -- what it is
        opportunities.stage_name,
        opportunities.forecast_category,
        coalesce(opportunities.is_won, false) as is_won,
        opportunities.is_closed_opportunity as is_closed,
        {{ is_open_pipeline('opportunities.is_closed_opportunity', 'opportunities.forecast_category') }}
            as is_open_pipeline,
        opportunities.is_observed,
        opportunities.currency_iso_code,
        -- measures, in the record's currency
        opportunities.amount,
        opportunities.probability,
        {{ weighted_amount('opportunities.amount', 'opportunities.probability') }} as weighted_amount,
        -- dates
        opportunities.date_day,
        opportunities.close_date,
        opportunities.last_activity_date,
        opportunities.created_at,
        {{ to_reporting_date('opportunities.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system
    from opportunities_by_day as opportunities
    left join users on opportunities.owner_user_id = users.user_id
)

{{ rows_and_gone('final', 'gone') }}
