{#-
    The incremental strategy `sync`: a model that builds on itself offers the rows that it writes and the keys that
    are gone. A key that is gone is a row without source_system, which every row of core has; `rows_and_gone` and
    `changed_rows` make such rows. What the table holds of any of these keys is deleted, then the rows are inserted,
    in the model's transaction, in which its hooks write the ledger.
-#}
{% macro get_incremental_sync_sql(arg_dict) %}
    {%- set columns = get_quoted_csv(arg_dict.dest_columns | map(attribute='name')) -%}
    delete from {{ arg_dict.target_relation }}
    where {{ arg_dict.unique_key }} in (select {{ arg_dict.unique_key }} from {{ arg_dict.temp_relation }});

    insert into {{ arg_dict.target_relation }} ({{ columns }})
    select {{ columns }}
    from {{ arg_dict.temp_relation }}
    where source_system is not null
{% endmacro %}


{#-
    Select of a model's rows and, where it builds on itself, of the keys that are gone.
    rows: CTE with the rows. gone: CTE with the model's unique key, there only where the model builds on itself; a key
    that is among the rows too stays with them.
-#}
{% macro rows_and_gone(rows, gone) %}
    {%- if not (execute and is_incremental()) -%}
    select * from {{ rows }}
    {%- else -%}
    {%- set columns = contracted_columns() -%}
    select {{ columns | map(attribute='name') | join(', ') }}
    from {{ rows }}
    union all
    select
        {%- for column in columns %}
        {{ column.name if column.name == model.config.unique_key else 'cast(null as ' ~ engine_type(column.data_type) ~ ')' }} as {{ column.name }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ gone }}
    {%- endif -%}
{%- endmacro %}


{#-
    Select of the rows that a model's table does not hold as they are, and of the keys of what it holds and `rows`, all
    of its rows, do not have: they have changed, or are gone. Where the model is built afresh, select of all rows.

    rows: CTE with the model's columns but its unique key. key: the unique key. key_of_row: the same as SQL over the other
    columns, of which it follows: it is not compared, and made for what has changed alone.

    Rows are compared by two hashes of 64 bits: on all columns, null-safe, it takes several times as long.
-#}
{% macro changed_rows(rows, key, key_of_row) %}
    {%- if not (execute and is_incremental()) -%}
    select
        {{ key_of_row }} as {{ key }},
        {{ rows }}.*
    from {{ rows }}
    {%- else -%}
    {%- set columns = model.columns.keys() | reject('equalto', key) | list -%}
    select
        coalesce(built.built_key, {{ key_of_row }}) as {{ key }},
        {%- for column in columns %}
        {{ rows }}.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ rows }}
    full outer join (
        select
            {{ key }} as built_key,
            {{ row_hash(columns) }} as one_hash,
            {{ row_hash(columns | reverse) }} as other_hash
        from {{ this }}
    ) as built
        on
            built.one_hash = {{ row_hash(columns) }}
            and built.other_hash = {{ row_hash(columns | reverse) }}
    where built.built_key is null or {{ rows }}.source_system is null
    {%- endif -%}
{%- endmacro %}


{#- A hash of a row's values, never null. It tells rows apart within one statement and is not to be stored. -#}
{% macro row_hash(columns) %}
    {{- adapter.dispatch('row_hash', 'gtm_dbt')(columns | list) -}}
{% endmacro %}
