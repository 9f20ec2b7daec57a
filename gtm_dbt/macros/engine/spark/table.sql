{#-
    A contract holds the names of columns and the kinds of their types. Whole numbers may be longer, and decimals have
    other digits, until the columns are cast to the contract's types: Spark computes them otherwise than DuckDB does.
-#}
{% macro spark__get_assert_columns_equivalent(sql) %}
    {%- set found = {} -%}
    {%- for column in adapter.get_column_schema_from_query(get_empty_subquery_sql(sql)) -%}
        {%- do found.update({column.name: kind_of_type(column.dtype)}) -%}
    {%- endfor -%}
    {%- set faults = [] -%}
    {%- for column in model.columns.values() if found.get(column.name) != kind_of_type(column.data_type) -%}
        {%- do faults.append(
            column.name ~ ' is ' ~ (found.get(column.name) or 'missing') ~ ' and is to be ' ~ column.data_type
        ) -%}
    {%- endfor -%}
    {%- for name in found if name not in model.columns -%}
        {%- do faults.append(name ~ ' is not in the contract') -%}
    {%- endfor -%}
    {%- if faults -%}
        {%- do exceptions.raise_compiler_error('the contract of ' ~ model.name ~ ' is not kept: ' ~ faults | join(', ')) -%}
    {%- endif -%}
{% endmacro %}


{#- The kind of a type, by the engine's name or ours. -#}
{% macro kind_of_type(data_type) %}
    {%- set name = engine_type(data_type).split('(')[0] | lower -%}
    {%- do return('whole number' if name in ['int', 'bigint'] else name) -%}
{% endmacro %}


{#- A query's rows with the columns of the contract, in its types. -#}
{% macro spark__get_select_subquery(sql) %}
    select
    {%- for column in model.columns.values() %}
        cast(contracted.{{ column.name }} as {{ engine_type(column.data_type) }}) as {{ column.name }}{{ ',' if not loop.last }}
    {%- endfor %}
    from (
        {{ sql }}
    ) as contracted
{% endmacro %}
