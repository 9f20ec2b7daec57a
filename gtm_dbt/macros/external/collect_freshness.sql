{#- `dbt source freshness`: of an external table the newest _fivetran_synced; a missing one is skipped with a warning. -#}
{% macro duckdb__collect_freshness(source, loaded_at_field, filter) %}
    {%- if not is_external(source.schema) -%}
        {%- set files = duckdb__lake_relation(source, source.schema, source.identifier) -%}
        {%- do return(default__collect_freshness(files, loaded_at_field, filter)) -%}
    {%- endif -%}
    {%- set external = external_table(source.schema, source.identifier) -%}
    {%- if external.relation is none -%}
        {%- do exceptions.warn(
            source.schema ~ '.' ~ source.identifier ~ ' is not in the external database: its freshness is not looked at'
        ) -%}
    {%- endif -%}
    {%- call statement('collect_freshness', fetch_result=true, auto_begin=false) -%}
        select
        {%- if external.relation is none %}
            {{ current_timestamp() }} as max_loaded_at,
            {{ current_timestamp() }} as snapshotted_at
        {%- else %}
            max({{ external_value(external, loaded_at_field, 'timestamp with time zone') }}) as max_loaded_at,
            {{ current_timestamp() }} as snapshotted_at
        from {{ external.relation }} as external_rows
        {%- endif %}
    {%- endcall -%}
    {%- do return(load_result('collect_freshness')) -%}
{% endmacro %}
