{#-
    The lake's files are Iceberg tables of gtm_raw: before dbt runs, the package adds batches that have come, a table for
    each of the catalogue, and lists them in gtm_meta.lake_batches.
-#}
{% macro spark__list_lake() %}
    {%- if is_external() -%}
        {%- do spark__refuse_stale_inspection() -%}
    {%- endif -%}
    {%- set made -%}
    {%- call as_hook() %}
    create schema if not exists {{ meta_schema() }};

    create table if not exists {{ meta_table('lake_batches') }} (
        source_name string not null,
        table_name string not null,
        partition_key string not null,
        batch_id string not null,
        file_path string not null,
        read_until timestamp not null
    );

    {{ make_ledger() }}

    {#- They stay empty: there are no external tables. -#}
    {% if adapter.get_relation(none, schema_named('gtm_meta'), 'external_flaws') is none %}
    {{ list_external_tables() }}
    {% endif %}
    {%- endcall %}
    {%- endset -%}
    {%- do run_query(made) -%}

    {{ prune_ledger() }}
{% endmacro %}


{% macro spark__read_batches(source_name, table_name, batches, columns) %}
    {%- set relation = raw_table_of_iceberg(source_name, table_name) -%}
    {%- set there = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
    {%- set rows -%}
        (
            select
                {%- for column in columns if column.name not in there + ['_partition_key'] %}
                cast(null as string) as {{ column.name }},
                {%- endfor %}
                raw_rows.*
            from {{ relation }} as raw_rows
            where raw_rows._batch_id in (
            {%- for batch in batches %}
                '{{ batch.batch_id }}'{{ ',' if not loop.last }}
            {%- endfor %}
            )
        )
    {%- endset -%}
    {%- do return(rows) -%}
{% endmacro %}


{#- The table that holds a raw table's batches. -#}
{% macro raw_table_of_iceberg(source_name, table_name) %}
    {%- do return(api.Relation.create(schema=schema_named('gtm_raw'), identifier=source_name ~ '__' ~ table_name)) -%}
{% endmacro %}


{#- Its files take the place of those that they were merged from when the package adds what has come. -#}
{% macro spark__follow_compaction() %}
{% endmacro %}


{% macro spark__lake_relation(relation, source_name, table_name) %}
    {%- do return(raw_table_of_iceberg(source_name, table_name)) -%}
{% endmacro %}


{#- Spark's catalogue has schemas alone. -#}
{% macro spark__staging_database() %}
    {%- do return(none) -%}
{% endmacro %}
