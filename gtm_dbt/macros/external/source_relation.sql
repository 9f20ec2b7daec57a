{#- What source tests read: the lake as the engine has it; in external mode what the models read, of a missing table none. -#}
{% macro source(source_name, table_name) %}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {%- if execute and is_external(source_name) -%}
        {%- do return(relation.replace(external='(' ~ external_versions(source_name, table_name) ~ ')')) -%}
    {%- endif -%}
    {%- do return(adapter.dispatch('lake_relation', 'gtm_dbt')(relation, source_name, table_name)) -%}
{% endmacro %}
