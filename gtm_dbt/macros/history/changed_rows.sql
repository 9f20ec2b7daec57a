{#-
    Select of the rows that a model's table does not hold as they are; of all where it is built afresh. Only for
    rows whose key is unique because their parents' keys are: a second row of a key would take the place of the first.

    Rows are compared by two hashes of 64 bits: on all columns, null-safe, it takes several times as long.
-#}
{% macro changed_rows(rows) %}
    {#- A unit test's model lists no columns. -#}
    {%- set columns = (model.columns.keys() | list if execute else []) or ['*'] -%}
    select {{ columns | join(', ') }}
    from {{ rows }}
    {%- if execute and is_incremental() %}
    left join (
        select
            {{ row_hash(columns) }} as one_hash,
            {{ row_hash(columns | reverse) }} as other_hash
        from {{ this }}
    ) as built
        on
            built.one_hash = {{ row_hash(columns) }}
            and built.other_hash = {{ row_hash(columns | reverse) }}
    where built.one_hash is null
    {%- endif %}
{%- endmacro %}


{#- A hash of a row's values, never null. It tells rows apart within one statement and is not to be stored. -#}
{% macro row_hash(columns) %}
    {{- adapter.dispatch('row_hash', 'gtm_dbt')(columns | list) -}}
{% endmacro %}

{% macro default__row_hash(columns) %}
    {{ not_supported('row_hash') }}
{% endmacro %}

{% macro duckdb__row_hash(columns) -%}
    hash({{ columns | join(', ') }})
{%- endmacro %}
