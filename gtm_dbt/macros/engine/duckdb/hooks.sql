{#- A hook has as many statements as it needs. -#}
{% macro duckdb__as_hook(statements) %}
    {%- do return(statements) -%}
{% endmacro %}


{% macro duckdb__has_transactions() %}
    {%- do return(true) -%}
{% endmacro %}
