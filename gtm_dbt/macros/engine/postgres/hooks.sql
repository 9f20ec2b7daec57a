{#- A hook has as many statements as it needs. -#}
{% macro postgres__as_hook(statements) %}
    {%- do return(statements) -%}
{% endmacro %}


{% macro postgres__has_transactions() %}
    {%- do return(true) -%}
{% endmacro %}
