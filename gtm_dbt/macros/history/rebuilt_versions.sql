{#-
    Selects the versions that opportunities had before the first one that we know, as field history tells them: one row
    at its creation, and one at each change until the first version. Of a deleted first version there are none, because
    Salesforce deletes field history with its record.

    versions: relation with all versions of the opportunities, as int_opportunity_versions has them.
    changes: relation with all changes of these opportunities, as int_opportunity_field_changes has them.
    stages: relation with the stages, as int_opportunity_stages has them.

    What a stage says (closed, won, forecast category, probability) is that of the stage as it is set up now; while an
    opportunity was already in the stage of its first version, that of the version. A field that field history does not
    know has the value of the first version, but for the stage of one that was closed by then: it is null until the
    opportunity closed, which its own dates tell. The last activity is not known.
-#}
{% macro rebuilt_versions(versions, changes, stages) %}
    with

    first_versions as (
        {{ first_versions(versions) }}
    ),

    created_before as (
        select
            first_versions.*,
            {{ is_closed_opportunity('first_versions.is_closed', 'first_versions.is_won') }} as is_seen_closed,
            coalesce(
                first_versions.last_stage_changed_at,
                {{ end_of_reporting_day('first_versions.close_date') }},
                first_versions.created_at
            ) as reported_closed_at
        from first_versions
        where not first_versions.is_deleted and first_versions.created_at < first_versions.system_modstamp
    ),

    instants as (
        select
            opportunity_id,
            created_at as instant
        from created_before
        union all
        select
            opportunity_id,
            reported_closed_at as instant
        from created_before
        where is_seen_closed and reported_closed_at > created_at and reported_closed_at < system_modstamp
    ),

    values_by_history as (
        {{ values_by_history('instants', changes) }}
    ),

    before_first_version as (
        select
            first_versions.opportunity_id,
            first_versions.account_id,
            first_versions.currency_iso_code,
            first_versions.created_at,
            values_by_history.begins_at as system_modstamp,
            {{ value_by_history('amount') }} as amount,
            {{ value_by_history('close_date') }} as close_date,
            {{ value_by_history('owner_user_id') }} as owner_user_id,
            case
                when
                    {{ is_known_by_history('stage_name') }}
                    or not first_versions.is_seen_closed
                    or values_by_history.begins_at >= first_versions.reported_closed_at
                    then {{ value_by_history('stage_name') }}
            end as stage_name,
            values_by_history.stage_name_change,
            max(values_by_history.stage_name_change) over (
                partition by values_by_history.opportunity_id
            ) as last_stage_name_change,
            first_versions.stage_name as seen_stage_name,
            first_versions.forecast_category as seen_forecast_category,
            first_versions.probability as seen_probability,
            first_versions.is_closed as seen_is_closed,
            first_versions.is_won as seen_is_won
        from values_by_history
        inner join created_before as first_versions
            on values_by_history.opportunity_id = first_versions.opportunity_id
        where
            values_by_history.begins_at >= first_versions.created_at
            and values_by_history.begins_at < first_versions.system_modstamp
    ),

    compared as (
        select
            *,
            stage_name is not null
            and stage_name = seen_stage_name
            and stage_name_change = last_stage_name_change as is_in_seen_stage
        from before_first_version
    )

    select
        compared.opportunity_id,
        compared.account_id,
        compared.owner_user_id,
        compared.stage_name,
        case when compared.is_in_seen_stage then compared.seen_forecast_category else stages.forecast_category end
            as forecast_category,
        case when compared.is_in_seen_stage then compared.seen_is_closed else stages.is_closed end as is_closed,
        case when compared.is_in_seen_stage then compared.seen_is_won else stages.is_won end as is_won,
        compared.currency_iso_code,
        compared.amount,
        case when compared.is_in_seen_stage then compared.seen_probability else stages.default_probability end
            as probability,
        compared.close_date,
        cast(null as date) as last_activity_date,
        compared.created_at,
        compared.system_modstamp,
        false as is_deleted,
        cast(null as {{ engine_type('varchar') }}) as _partition_key,
        cast(null as {{ engine_type('varchar') }}) as _version_hash
    from compared
    left join {{ stages }} as stages on compared.stage_name = stages.stage_name
{% endmacro %}


{#- Selects the first version of each opportunity. versions: as rebuilt_versions takes it. -#}
{% macro first_versions(versions) %}
    select numbered.*
    from (
        select
            at_one_time.*,
            row_number() over (partition by opportunity_id order by system_modstamp) as _number
        from (
            {{ one_at_a_time(versions, 'opportunity_id') }}
        ) as at_one_time
    ) as numbered
    where numbered._number = 1
{%- endmacro %}


{#- The columns that field history tells of, each with the columns of int_opportunity_field_changes that hold its values. -#}
{% macro columns_of_history() %}
    {%- do return({
        'stage_name': ('old_value', 'new_value'),
        'amount': ('old_amount', 'new_amount'),
        'close_date': ('old_close_date', 'new_close_date'),
        'owner_user_id': ('old_value', 'new_value'),
    }) -%}
{% endmacro %}


{#-
    Selects what field history says of opportunities over time: one row per opportunity and instant at which something
    begins, valid to ends_at (half-open). Before its first change a column had that change's old value.

    instants: relation of opportunity_id and instant, at which rows begin too. changes: as rebuilt_versions takes it.

    For each column it returns the value, its number of changes so far (<column>_change) and the time of its first one
    (<column>_first_changed_at), null where there is none. `value_by_history` reads them.
-#}
{% macro values_by_history(instants, changes) %}
    {%- set columns = columns_of_history() -%}
    with

    ranked as (
        select
            *,
            row_number() over (
                partition by opportunity_id, column_name
                order by changed_at, opportunity_field_history_id
            ) as rank_from_start,
            row_number() over (
                partition by opportunity_id, column_name, changed_at
                order by opportunity_field_history_id desc
            ) as rank_in_instant
        from {{ changes }}
    ),

    begun as (
        select
            opportunity_id,
            changed_at as begins_at
            {%- for column, (old, new) in columns.items() %},
            case when column_name = '{{ column }}' and rank_in_instant = 1 then 1 else 0 end as {{ column }}_changes,
            case when column_name = '{{ column }}' and rank_in_instant = 1 then {{ new }} end as new_{{ column }},
            case when column_name = '{{ column }}' and rank_from_start = 1 then {{ old }} end as first_{{ column }},
            case when column_name = '{{ column }}' then changed_at end as {{ column }}_changed_at
            {%- endfor %}
        from ranked
        union all
        select
            opportunity_id,
            instant as begins_at
            {%- for column, (old, new) in columns.items() %},
            0 as {{ column }}_changes,
            null as new_{{ column }},
            null as first_{{ column }},
            null as {{ column }}_changed_at
            {%- endfor %}
        from {{ instants }}
    ),

    by_instant as (
        select
            opportunity_id,
            begins_at
            {%- for column in columns %},
            sum({{ column }}_changes) as {{ column }}_changes,
            max(new_{{ column }}) as new_{{ column }},
            max(first_{{ column }}) as first_{{ column }},
            min({{ column }}_changed_at) as {{ column }}_changed_at
            {%- endfor %}
        from begun
        group by opportunity_id, begins_at
    ),

    numbered as (
        select
            opportunity_id,
            begins_at,
            lead(begins_at) over (partition by opportunity_id order by begins_at) as ends_at
            {%- for column in columns %},
            new_{{ column }},
            max(first_{{ column }}) over (partition by opportunity_id) as first_{{ column }},
            min({{ column }}_changed_at) over (partition by opportunity_id) as {{ column }}_first_changed_at,
            sum({{ column }}_changes) over (
                partition by opportunity_id
                order by begins_at
                rows between unbounded preceding and current row
            ) as {{ column }}_change
            {%- endfor %}
        from by_instant
    )

    select
        opportunity_id,
        begins_at,
        ends_at
        {%- for column in columns %},
        {{ column }}_change,
        {{ column }}_first_changed_at,
        case
            when {{ column }}_change = 0 then first_{{ column }}
            else max(new_{{ column }}) over (partition by opportunity_id, {{ column }}_change)
        end as {{ column }}
        {%- endfor %}
    from numbered
{% endmacro %}


{#-
    Condition: field history tells the column's value at the time of a row of `values_by_history`. What is tracked only
    since after the first version was not known before. Salesforce may record a change some seconds after the record's
    own time.
-#}
{% macro is_known_by_history(column) -%}
    (
        values_by_history.{{ column }}_change > 0
        or values_by_history.{{ column }}_first_changed_at <= first_versions.system_modstamp + interval '1 minute'
    )
{%- endmacro %}


{#- The column's value in a row of `values_by_history`; where field history does not know it, that of `first_versions`. -#}
{% macro value_by_history(column) -%}
    case
        when {{ is_known_by_history(column) }} then values_by_history.{{ column }}
        else first_versions.{{ column }}
    end
{%- endmacro %}
