{#- What source tests read: in external mode the rows that the models read, of a missing table none. -#}
{% macro source(source_name, table_name) %}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {%- if execute and is_external(source_name) -%}
        {%- do return(relation.replace(external='(' ~ external_versions(source_name, table_name) ~ ')')) -%}
    {%- endif -%}
    {%- do return(adapter.dispatch('lake_relation', 'gtm_dbt')(relation, source_name, table_name)) -%}
{% endmacro %}


{#- What a raw table's relation is on this engine: on DuckDB its files, elsewhere a table of the database. -#}
{% macro default__lake_relation(relation, source_name, table_name) %}
    {%- do return(raw_relation(source_name, table_name)) -%}
{% endmacro %}

{% macro duckdb__lake_relation(relation, source_name, table_name) %}
    {%- do return(relation) -%}
{% endmacro %}
