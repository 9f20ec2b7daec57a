{#- Types of the yml have our names. -#}
{% macro spark__create_csv_table(model, agate_table) %}
    {%- set types = model.config.get('column_types', {}) -%}
    {%- set sql -%}
        create table {{ this }} (
        {%- for name in agate_table.column_names %}
            {{ name }} {{ engine_type(types.get(name) or adapter.convert_type(agate_table, loop.index0)) }}{{ ',' if not loop.last }}
        {%- endfor %}
        )
        {{ file_format_clause() }}
    {%- endset -%}
    {%- do run_query(sql) -%}
    {%- do return(sql) -%}
{% endmacro %}


{#- The rows as literals: dbt's own leaves an apostrophe as it is, and makes a text of a null. -#}
{% macro spark__load_csv_rows(model, agate_table) %}
    {%- set types = model.config.get('column_types', {}) -%}
    {%- set statements = [] -%}
    {%- for chunk in agate_table.rows | batch(1000) -%}
        {%- set sql -%}
            insert into {{ this }} values
            {%- for row in chunk %}
            (
                {%- for name in agate_table.column_names -%}
                    {%- set type = types.get(name) or adapter.convert_type(agate_table, loop.index0) -%}
                    {%- set value = row[loop.index0] -%}
                    cast({{ 'null' if value is none else dbt.string_literal(escaped(value)) }} as {{ engine_type(type) }})
                    {{- ', ' if not loop.last }}
                {%- endfor -%}
            ){{ ',' if not loop.last }}
            {%- endfor %}
        {%- endset -%}
        {%- do adapter.add_query(sql, abridge_sql_log=True) -%}
        {%- do statements.append(sql) -%}
    {%- endfor -%}
    {%- do return(statements | first) -%}
{% endmacro %}


{#- A value within single quotes. -#}
{% macro escaped(value) %}
    {%- do return(value | string | replace('\\', '\\\\') | replace("'", "\\'")) -%}
{% endmacro %}
