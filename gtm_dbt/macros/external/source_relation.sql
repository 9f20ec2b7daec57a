{#- What source tests read: in external mode the rows that the models read, of a missing table none. -#}
{% macro source(source_name, table_name) %}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {%- if execute and is_external(source_name) -%}
        {%- do return(relation.replace(external='(' ~ external_versions(source_name, table_name) ~ ')')) -%}
    {%- endif -%}
    {%- do return(relation) -%}
{% endmacro %}
