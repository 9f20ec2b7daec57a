{#- `dbt source freshness`: of a landed table the newest _fivetran_synced; a missing one is skipped with a warning. -#}
{% macro duckdb__collect_freshness(source, loaded_at_field, filter) %}
    {%- if not is_landed(source.schema) -%}
        {%- do return(default__collect_freshness(source, loaded_at_field, filter)) -%}
    {%- endif -%}
    {%- set landed = landed_table(source.schema, source.identifier) -%}
    {%- if landed.relation is none -%}
        {%- do exceptions.warn(
            source.schema ~ '.' ~ source.identifier ~ ' is not in the landing: its freshness is not looked at'
        ) -%}
    {%- endif -%}
    {%- call statement('collect_freshness', fetch_result=true, auto_begin=false) -%}
        select
        {%- if landed.relation is none %}
            {{ current_timestamp() }} as max_loaded_at,
            {{ current_timestamp() }} as snapshotted_at
        {%- else %}
            max({{ landed_value(landed, loaded_at_field, 'timestamp with time zone') }}) as max_loaded_at,
            {{ current_timestamp() }} as snapshotted_at
        from {{ landed.relation }} as landed
        {%- endif %}
    {%- endcall -%}
    {%- do return(load_result('collect_freshness')) -%}
{% endmacro %}
