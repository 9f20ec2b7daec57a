{#- All columns of a raw table: those of the source, then those of the loader. -#}
{% macro raw_columns(source_name, table_name) %}
    {%- set loaders = [] -%}
    {%- for column in raw_table(source_name, table_name).columns.values() if column.name in loader_columns() -%}
        {%- do loaders.append(column) -%}
    {%- endfor -%}
    {%- do return(source_columns(source_name, table_name) + loaders + [{'name': '_partition_key', 'data_type': 'varchar'}]) -%}
{% endmacro %}


{#- The columns of a raw table that come from the source: the catalogue's, then those that a team passes through. -#}
{% macro source_columns(source_name, table_name) %}
    {%- set own = [] -%}
    {%- for column in raw_table(source_name, table_name).columns.values() if column.name not in loader_columns() -%}
        {%- do own.append(column) -%}
    {%- endfor -%}
    {%- do return(own + pass_through_columns(source_name, table_name)) -%}
{% endmacro %}


{#- The entry of a raw table in the source file. -#}
{% macro raw_table(source_name, table_name) %}
    {%- for node in graph.sources.values() -%}
        {%- if node.source_name == source_name and node.name == table_name -%}
            {%- do return(node) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do exceptions.raise_compiler_error(source_name ~ '.' ~ table_name ~ ' is not in the source files') -%}
{% endmacro %}


{#- The columns that the loader adds to each record. -#}
{% macro loader_columns() %}
    {%- do return(['_fivetran_synced', '_batch_id', '_known_at', '_version_hash']) -%}
{% endmacro %}
