{#- Spark takes one statement a call: each is run here, but for the last, which is left to the hook. -#}
{% macro spark__as_hook(statements) %}
    {%- set given = [] -%}
    {%- for statement in modules.re.split(';[ \t]*(?:\n|$)', statements) if statement | trim -%}
        {%- do given.append(statement | trim) -%}
    {%- endfor -%}
    {%- for statement in given[:-1] -%}
        {%- do run_query(statement) -%}
    {%- endfor -%}
    {%- do return(given | last | default('select 1')) -%}
{% endmacro %}


{% macro spark__end_of_hook() -%}
{%- endmacro %}


{#- Each statement is a commit of one table. -#}
{% macro spark__has_transactions() %}
    {%- do return(false) -%}
{% endmacro %}
