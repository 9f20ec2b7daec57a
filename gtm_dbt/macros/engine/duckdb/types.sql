{#- Types have DuckDB's names. -#}
{% macro duckdb__engine_types() %}
    {%- do return({}) -%}
{% endmacro %}


{% macro duckdb__our_type(column) %}
    {%- do return(column.dtype) -%}
{% endmacro %}
