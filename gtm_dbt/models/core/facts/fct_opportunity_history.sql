{{
    config(
        materialized='incremental',
        incremental_strategy='sync',
        unique_key='opportunity_day_key',
        post_hook="{{ record_consumed(['int_opportunity_versions']) }}"
    )
}}

with

versions as (
    select * from {{ ref('int_opportunity_versions') }}
),

users as (
    select
        user_id,
        {{ surrogate_key(["'salesforce'", 'user_id']) }} as user_key
    from {{ ref('stg_salesforce__user') }}
),

-- The history reaches from the first landed boundary to today. For an external table it begins with the first
-- version that its loader kept; an external table without history mode has no days before today.
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
            is_closed
        from {{ this }}
    ),

    built_days as (
        select
            min(date_day) as first_day,
            max(date_day) as last_day
        from built
    ),

    -- Opportunities that changed, and those whose owner appeared or disappeared.
    touched as (
        select versions.opportunity_id
        from versions
        where versions._batch_id in ({{ unconsumed_batches('int_opportunity_versions') }})
        union
        select built.opportunity_id
        from built
        left join users on built.owner_user_id = users.user_id
        where (users.user_id is null) <> (built.owner_user_key = {{ unknown_key() }})
    ),

    -- Also opportunities that gain days: open ones, those dated after the last build, and all of them if the
    -- history now begins earlier.
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
        cross join bounds
        where
            built_days.last_day is null
            or bounds.first_day < built_days.first_day
            or {{ to_reporting_date('versions.system_modstamp') }} > built_days.last_day
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

states as (
    {{
        scd_type_2(
            'candidate_versions',
            id='opportunity_id',
            tracked=[
                'account_id', 'owner_user_id', 'stage_name', 'forecast_category', 'is_closed', 'is_won',
                'currency_iso_code', 'amount', 'probability', 'close_date', 'last_activity_date',
                'last_stage_changed_at',
            ],
            carried=['created_at']
        )
    }}
),

-- In history mode of an external table, the days of each opportunity begin with its own first version, because the
-- loader did not begin to keep versions of all opportunities on one day.
dated as (
    select
        states.*,
        {{ is_closed_opportunity('states.is_closed', 'states.is_won') }} as is_closed_opportunity,
        {{ to_reporting_date('states.valid_from') }} as from_day,
        {{ to_reporting_date('states.valid_to') }} as next_from_day,
        {% if is_external_history('salesforce', 'opportunity') %}
            least(
                {{ to_reporting_date('min(states.seen_at) over (partition by states.opportunity_id)') }},
                {{ to_reporting_date(as_of()) }}
            ) as known_from_day
        {% else %}
            {{ to_reporting_date('states.valid_from') }} as known_from_day
        {% endif %}
    from states
),

-- The states that were in force at the end of some day.
end_of_day_states as (
    select
        *,
        lag(is_closed_opportunity) over (partition by opportunity_id order by valid_from) as was_closed,
        lead(is_deleted or not is_closed_opportunity) over (partition by opportunity_id order by valid_from)
            as is_closed_no_longer
    from dated
    where next_from_day is null or next_from_day > from_day
),

-- Opportunities that were already closed when they were first seen. Their own dates report the day on which they
-- closed.
first_seen_closed as (
    select
        *,
        coalesce({{ to_reporting_date('last_stage_changed_at') }}, close_date, from_day) as reported_close_day,
        {{ to_reporting_date('seen_at') }} as seen_day
    from end_of_day_states
    where is_closed_opportunity and was_closed is null and not is_deleted
),

-- The days for which a state gives rows: an open opportunity has one for each day, and a closed one for the day on
-- which it closed. A deleted opportunity has none until it is restored. If an opportunity was closed when it was
-- first seen, its reported day of closing counts, but not after the day on which it was seen or opened again.
active_ranges as (
    select
        end_of_day_states.*,
        case
            when not end_of_day_states.is_closed_opportunity
                then coalesce(end_of_day_states.next_from_day - 1, bounds.last_day)
            when first_seen_closed.opportunity_id is null then end_of_day_states.from_day
            when first_seen_closed.reported_close_day < first_seen_closed.from_day then first_seen_closed.from_day
            when
                first_seen_closed.is_closed_no_longer
                and first_seen_closed.reported_close_day >= first_seen_closed.next_from_day
                then first_seen_closed.next_from_day - 1
            else least(first_seen_closed.reported_close_day, first_seen_closed.seen_day)
        end as to_day
    from end_of_day_states
    cross join bounds
    left join first_seen_closed
        on
            end_of_day_states.opportunity_id = first_seen_closed.opportunity_id
            and end_of_day_states.valid_from = first_seen_closed.valid_from
    where
        not end_of_day_states.is_deleted
        and not (end_of_day_states.is_closed_opportunity and coalesce(end_of_day_states.was_closed, false))
),

days as (
    {{ date_spine('(select first_day from bounds)', '(select last_day from bounds)') }}
),

opportunities_by_day as (
    select
        active_ranges.*,
        days.date_day,
        active_ranges.is_closed_opportunity and days.date_day = active_ranges.to_day as is_closed_on_day,
        active_ranges.is_closed_opportunity and days.date_day < active_ranges.to_day as is_not_known_on_day
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
            or built_days.first_day is null
            or days.date_day not between built_days.first_day and built_days.last_day
    {% endif %}
),

as_on_the_day as (
    select
        *,
        case when not is_not_known_on_day then stage_name end as stage_on_day,
        case when not is_not_known_on_day then forecast_category end as forecast_category_on_day,
        case when not is_not_known_on_day then probability end as probability_on_day
    from opportunities_by_day
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
        opportunities.stage_on_day as stage_name,
        opportunities.forecast_category_on_day as forecast_category,
        opportunities.is_closed_on_day and coalesce(opportunities.is_won, false) as is_won,
        opportunities.is_closed_on_day as is_closed,
        {{ is_open_pipeline('opportunities.is_closed_on_day', 'opportunities.forecast_category_on_day') }}
            as is_open_pipeline,
        opportunities.currency_iso_code,
        -- measures, in the record's currency
        opportunities.amount,
        opportunities.probability_on_day as probability,
        {{ weighted_amount('opportunities.amount', 'opportunities.probability_on_day') }} as weighted_amount,
        -- dates
        opportunities.date_day,
        opportunities.close_date,
        opportunities.last_activity_date,
        opportunities.created_at,
        {{ to_reporting_date('opportunities.created_at') }} as created_date,
        -- provenance
        'salesforce' as source_system
    from as_on_the_day as opportunities
    left join users on opportunities.owner_user_id = users.user_id
)

{{ rows_and_gone('final', 'gone') }}
