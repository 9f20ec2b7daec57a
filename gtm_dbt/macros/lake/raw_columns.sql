{#- The catalogue's columns of a raw table, then the loader's, as the source file lists them. -#}
{% macro raw_columns(source_name, table_name) %}
    {%- set columns = raw_table(source_name, table_name).columns.values() | list -%}
    {%- do return(columns + [{'name': '_partition', 'data_type': 'varchar'}]) -%}
{% endmacro %}


{#- A raw table's entry in the source file. -#}
{% macro raw_table(source_name, table_name) %}
    {%- for node in graph.sources.values() -%}
        {%- if node.source_name == source_name and node.name == table_name -%}
            {%- do return(node) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do exceptions.raise_compiler_error(source_name ~ '.' ~ table_name ~ ' is not in the source files') -%}
{% endmacro %}
