{#-
    History mode: a record's versions by the loader's own intervals (_fivetran_start, _fivetran_end) and by its word
    on which of them is current (_fivetran_active).

    A version counts from its start until the next one starts. The active one is the current one, of several that
    which started last; what is not active and started later has no place. Of rows with one start the active one
    counts, else that which ended last. While none of its intervals covers it a record is absent: deleted at the
    end of one version, back at the start of the next. An end that can't be (none, before the start, after now) is
    not believed: the version lasts until the next one starts, the last one until it was loaded. No record is there
    before it was created: the version in force then begins with it, whatever its start, and earlier ones do not count.
    external_flaws tells of each record that took more than the first of these rules.
-#}


{#-
    So long may lie between two versions before the record counts as absent. Fivetran ends a version a millisecond
    before the next one, others a microsecond; a loader that keeps whole seconds, a second.
-#}
{% macro external_gap_tolerance() -%}
    interval '1 second'
{%- endmacro %}


{#-
    Select of the versions of an external table: its rows that have a place, and one deleted for each absence.
    _gtm_begins_at: when the version begins. _gtm_is_deleted: whether its record is deleted then.
    Of records that do not change, whose cursor is their creation, only the newest version is given.
-#}
{% macro external_history(external, cursor) %}
    with

    places as (
        select
            intervals.*,
            -- The last instant that the intervals up to here cover.
            max(
                case
                    when intervals._gtm_is_active then {{ last_instant() }}
                    else coalesce(
                        intervals._gtm_end,
                        intervals._gtm_next_start,
                        greatest(intervals._gtm_start, intervals._gtm_synced)
                    )
                end
            ) over (
                partition by intervals._gtm_id
                order by intervals._gtm_start
                rows between unbounded preceding and current row
            ) as _gtm_covered_until
        from ({{ external_intervals(external, cursor) }}) as intervals
        where intervals._gtm_has_place
    ),

    versions as (
        select
            places.*,
            case
                when places._gtm_created_at > places._gtm_start and places._gtm_created_at < places._gtm_covered_until
                    then places._gtm_created_at
                else places._gtm_start
            end as _gtm_begins_at,
            places._gtm_is_marked as _gtm_is_deleted,
            places._gtm_is_first as _gtm_is_first_version
        from places
        where not coalesce(places._gtm_next_start <= places._gtm_created_at, false)
        union all
        select
            places.*,
            places._gtm_covered_until as _gtm_begins_at,
            true as _gtm_is_deleted,
            false as _gtm_is_first_version
        from places
        where
            places._gtm_covered_until < coalesce(
                places._gtm_next_start - {{ external_gap_tolerance() }},
                {{ last_instant() }}
            )
    ),

    reached as (
        select
            versions.*,
            row_number() over (
                partition by versions._gtm_id
                order by versions._gtm_begins_at desc, case when versions._gtm_is_deleted then 0 else 1 end
            ) as _gtm_recency
        from versions
        where
            {{ now_has_reached('versions._gtm_begins_at', 'versions._gtm_created_at', 'versions._gtm_is_first_version') }}
    )

    select reached.*
    from reached
    {%- if cursor == 'created_date' %}
    where reached._gtm_recency = 1
    {%- endif %}
{%- endmacro %}


{#-
    Select of an external table's rows with what the loader says of each (_gtm_start, _gtm_end where it is believed,
    _gtm_is_active), and whether the row has a place in its record's history.
-#}
{% macro external_intervals(external, cursor) %}
    {%- set type = 'timestamp with time zone' -%}
    {%- set values = [] -%}
    {%- for column in external.columns.values() -%}
        {%- do values.append('external_rows.' ~ adapter.quote(column.name)) -%}
    {%- endfor -%}
    select
        placed.*,
        -- What has a place follows on each other; the rest does not count among it.
        lead(placed._gtm_start) over (
            partition by placed._gtm_id, placed._gtm_has_place order by placed._gtm_start
        ) as _gtm_next_start,
        row_number() over (
            partition by placed._gtm_id, placed._gtm_has_place order by placed._gtm_start
        ) = 1 as _gtm_is_first
    from (
        select
            ranked.*,
            ranked._gtm_rank_at_start = 1
            and coalesce(ranked._gtm_start <= ranked._gtm_active_start, true) as _gtm_has_place
        from (
            select
                believed.*,
                max(case when believed._gtm_is_active then believed._gtm_start end) over (
                    partition by believed._gtm_id
                ) as _gtm_active_start,
                row_number() over (
                    partition by believed._gtm_id, believed._gtm_start
                    order by
                        case when believed._gtm_is_active then 0 else 1 end,
                        coalesce(believed._gtm_end, believed._gtm_start) desc,
                        case when believed._gtm_is_marked then 0 else 1 end,
                        believed._gtm_row_hash
                ) as _gtm_rank_at_start
            from (
                select
                    told.*,
                    case
                        when told._gtm_told_end >= told._gtm_start and coalesce(told._gtm_told_end <= {{ as_of() }}, true)
                            then told._gtm_told_end
                    end as _gtm_end
                from (
                    select
                        external_rows.*,
                        {{ external_value(external, 'id', 'varchar') }} as _gtm_id,
                        {{ external_value(external, '_fivetran_start', type) }} as _gtm_told_start,
                        coalesce(
                            {{ external_value(external, '_fivetran_start', type) }}, {{ external_cursor(external, cursor) }}
                        ) as _gtm_start,
                        {{ external_value(external, '_fivetran_end', type) }} as _gtm_told_end,
                        {{ external_is_active(external) }} as _gtm_is_active,
                        {{ external_is_marked(external) }} as _gtm_is_marked,
                        {{ external_value(external, 'created_date', type) }} as _gtm_created_at,
                        {{ external_value(external, '_fivetran_synced', type) }} as _gtm_synced,
                        {{ row_hash(values) }} as _gtm_row_hash
                    from {{ external.relation }} as external_rows
                ) as told
            ) as believed
        ) as ranked
    ) as placed
{%- endmacro %}


{#-
    Select of the records of an external table that lie ahead of now, and in history mode of those whose intervals
    contradict each other or themselves: flaw, record_id, row_count.
-#}
{% macro external_flaws(external, cursor) %}
    {%- set flaws = {
        'created_ahead': '_gtm_created_at > ' ~ as_of(),
        'modified_ahead' if external.has_history else 'ahead_without_history': 'coalesce(_gtm_created_at <= ' ~ as_of() ~ ', true) and _gtm_start > ' ~ as_of(),
    } -%}
    {%- if external.has_history -%}
        {%- do flaws.update({
            'several_active': '_gtm_is_active and not (_gtm_has_place and _gtm_start = _gtm_active_start)',
            'after_active': 'not _gtm_is_active and _gtm_start > _gtm_active_start',
            'one_start': 'not _gtm_is_active and _gtm_rank_at_start > 1 and coalesce(_gtm_start <= _gtm_active_start, true)',
            'overlap': '_gtm_has_place and not _gtm_is_active and _gtm_end > _gtm_next_start',
            'before_creation': '_gtm_has_place and _gtm_next_start <= _gtm_created_at',
            'without_start': '_gtm_told_start is null',
            'end_not_believed': '_gtm_has_place and not _gtm_is_active and _gtm_end is null'
                ~ ' and coalesce(_gtm_told_end < _gtm_start or _gtm_next_start is null, true)',
            'active_ended': '_gtm_is_active and _gtm_told_end <= ' ~ as_of(),
        }) -%}
    {%- endif -%}
    with

    examined as (
        {%- if external.has_history %}
        {{ external_intervals(external, cursor) }}
        {%- else %}
        select
            {{ external_value(external, 'id', 'varchar') }} as _gtm_id,
            {{ external_cursor(external, cursor) }} as _gtm_start,
            {{ external_value(external, 'created_date', 'timestamp with time zone') }} as _gtm_created_at
        from {{ external.relation }} as external_rows
        {%- if '_fivetran_active' in external.columns %}
        where {{ external_is_active(external) }}
        {%- endif %}
        {%- endif %}
    )

    {%- for flaw, condition in flaws.items() %}
    {{ 'union all' if not loop.first }}
    select '{{ flaw }}' as flaw, _gtm_id as record_id, count(*) as row_count
    from examined
    where {{ condition }}
    group by _gtm_id
    {%- endfor %}
{%- endmacro %}
