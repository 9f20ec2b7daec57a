{#-
    Selects the history of records, SCD type 2: one row for each version that differs in a tracked column.

    versions: relation with all versions of the records, one row each, with system_modstamp, created_at,
    is_deleted, _partition_key and _version_hash.
    id: the record's id. tracked: columns whose change begins a new version. carried: other columns, with the last
    value that they had within the version.

    It returns _scd_id, the id, the tracked and carried columns, is_deleted, valid_from, valid_to (half-open), is_first,
    is_current, and seen_at: when the source first showed the version. For the first version of a record seen_at may be
    later than valid_from.
-#}
{% macro scd_type_2(versions, id, tracked, carried) %}
    with

    at_one_time as (
        {{ one_at_a_time(versions, id) }}
    ),

    compared as (
        select
            at_one_time.*,
            case
                when row_number() over (partition by {{ id }} order by system_modstamp) = 1 then 1
                {%- for column in ['is_deleted'] + tracked %}
                when {{ column }} is distinct from
                    lag({{ column }}) over (partition by {{ id }} order by system_modstamp) then 1
                {%- endfor %}
                else 0
            end as _begins
        from at_one_time
    ),

    numbered as (
        select
            compared.*,
            min(created_at) over (partition by {{ id }}) as _created_at,
            sum(_begins) over (
                partition by {{ id }}
                order by system_modstamp
                rows between unbounded preceding and current row
            ) as _version_number
        from compared
    ),

    bounded as (
        select
            numbered.*,
            min(system_modstamp) over (partition by {{ id }}, _version_number) as _begins_at,
            row_number() over (
                partition by {{ id }}, _version_number
                order by system_modstamp desc
            ) as _rank_in_version
        from numbered
    ),

    -- The last row of a version holds the last values of the untracked columns.
    versions_begun as (
        select
            bounded.*,
            case
                when _version_number = 1 and _created_at < _begins_at then _created_at
                else _begins_at
            end as valid_from
        from bounded
        where _rank_in_version = 1
    ),

    versions_ended as (
        select
            versions_begun.*,
            lead(valid_from) over (partition by {{ id }} order by _version_number) as valid_to
        from versions_begun
    )

    select
        {{ surrogate_key([id, epoch_microseconds('valid_from')]) }} as _scd_id,
        {{ id }},
        {%- for column in tracked + carried %}
        {{ column }},
        {%- endfor %}
        is_deleted,
        valid_from,
        valid_to,
        _version_number = 1 as is_first,
        valid_to is null as is_current,
        _begins_at as seen_at
    from versions_ended
{%- endmacro %}


{#- The tracked columns, which the yml of the model lists under config, meta. -#}
{% macro tracked_columns() %}
    {%- do return(model.config.meta.tracked_columns if execute else []) -%}
{% endmacro %}


{#-
    Condition: the version of an account that a fact belongs to. It is the version in force when the fact happened. A
    fact that is older than its account (merged and imported records are) belongs to the first version, and one that has
    no time, because it has not happened yet, to the current version. Each instant matches one version of an account.
-#}
{% macro account_version_at(versions, instant) -%}
    (
        ({{ instant }} is null and {{ versions }}.is_current)
        or ({{ version_in_force(versions, instant) }})
        or ({{ versions }}.is_first and {{ instant }} < {{ versions }}.valid_from)
    )
{%- endmacro %}


{#-
    Selects all columns of a CTE of facts, and account_key: the version of the account that each belongs to.
    instant: the column that says when the fact happened. It reads the CTE account_versions.
-#}
{% macro with_account_version(facts, instant, account_id='account_id') %}
    select
        {{ facts }}.*,
        account_versions.account_key
    from {{ facts }}
    left join account_versions
        on
            {{ facts }}.{{ account_id }} = account_versions.account_id
            and {{ account_version_at('account_versions', facts ~ '.' ~ instant) }}
{%- endmacro %}


{#- Condition: the version in `alias` is in force at the instant. -#}
{% macro version_in_force(alias, instant) -%}
    {{ instant }} >= {{ alias }}.valid_from and ({{ alias }}.valid_to is null or {{ instant }} < {{ alias }}.valid_to)
{%- endmacro %}
