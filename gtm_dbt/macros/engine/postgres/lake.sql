{#-
    The lake lies in the database too: before dbt runs, the package copies batches that have come into gtm_raw, a table
    for each of the catalogue, and lists them in gtm_meta.lake_batches.
-#}
{% macro postgres__list_lake() %}
    create schema if not exists {{ meta_schema() }};

    create table if not exists {{ meta_table('lake_batches') }} (
        source_name varchar not null,
        table_name varchar not null,
        partition_key varchar not null,
        batch_id varchar not null,
        file_path varchar not null,
        read_until timestamp with time zone not null
    );

    {{ make_ledger(target.database) }}

    -- Whether a text is a value of a type. PostgreSQL 16 could ask by pg_input_is_valid, 15 raises.
    create or replace function {{ meta_table('fits') }}(given text, type_name text) returns boolean as $$
    begin
        execute format('select cast($1 as %s)', type_name) using given;
        return true;
    exception when others then
        return false;
    end
    $$ language plpgsql stable;

    -- A JSON list; null where a text is none. PostgreSQL 16 could ask by `is json`, 15 raises.
    create or replace function {{ meta_table('json_list') }}(given text) returns json as $$
    begin
        return case when json_typeof(cast(given as json)) = 'array' then cast(given as json) end;
    exception when others then
        return null;
    end
    $$ language plpgsql immutable parallel safe;

    {{ list_external_tables() }}
{% endmacro %}


{% macro postgres__read_batches(source_name, table_name, batches, columns) %}
    {%- set relation = raw_relation(source_name, table_name) -%}
    {%- set there = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
    {%- set rows -%}
        (
            select
                {%- for column in columns if column.name not in there + ['_partition_key'] %}
                cast(null as varchar) as {{ column.name }},
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


{#- The table of the database that holds a raw table's batches. -#}
{% macro raw_relation(source_name, table_name) %}
    {%- do return(api.Relation.create(
        database=target.database, schema=schema_named('gtm_raw'), identifier=source_name ~ '__' ~ table_name
    )) -%}
{% endmacro %}


{% macro postgres__follow_compaction() %}
{% endmacro %}


{% macro postgres__end_of_hook() -%}
    commit;
{%- endmacro %}


{% macro postgres__lake_relation(relation, source_name, table_name) %}
    {%- do return(raw_relation(source_name, table_name)) -%}
{% endmacro %}


{#- They lie in schemas of their own beside core and mart. -#}
{% macro postgres__staging_database() %}
    {%- do return(target.database) -%}
{% endmacro %}
