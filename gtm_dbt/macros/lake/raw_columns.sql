{#- All columns of a raw table: its source's, then the loader's. -#}
{% macro raw_columns(source_name, table_name) %}
    {%- set loaders = [] -%}
    {%- for column in raw_table(source_name, table_name).columns.values() if column.name in loader_columns() -%}
        {%- do loaders.append(column) -%}
    {%- endfor -%}
    {%- do return(source_columns(source_name, table_name) + loaders + [{'name': '_partition', 'data_type': 'varchar'}]) -%}
{% endmacro %}


{#- The source's own columns of a raw table: the catalogue's, then those that a team passes through. -#}
{% macro source_columns(source_name, table_name) %}
    {%- set own = [] -%}
    {%- for column in raw_table(source_name, table_name).columns.values() if column.name not in loader_columns() -%}
        {%- do own.append(column) -%}
    {%- endfor -%}
    {%- do return(own + pass_through_columns(source_name, table_name)) -%}
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


{#- What the loader adds to each record. -#}
{% macro loader_columns() %}
    {%- do return(['_fivetran_synced', '_batch_id', '_known_at', '_version_hash']) -%}
{% endmacro %}
