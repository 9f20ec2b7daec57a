{#- Of a merged file all batches come, those too that were not asked for. -#}
{% macro duckdb__read_batches(source_name, table_name, batches, columns) %}
    {%- set rows -%}
        (
            {%- if columns %}
            select
            {%- for column in columns if column.name != '_partition_key' %}
                null as {{ column.name }}{{ ',' if not loop.last }}
            {%- endfor %}
            where false
            union all by name
            {%- endif %}
            select * from {{ read_files(batches | map(attribute='file_path') | unique | list) }}
        )
    {%- endset -%}
    {%- do return(rows) -%}
{% endmacro %}


{#- Relation of Parquet files' rows with the columns that any of them has. -#}
{% macro read_files(files) %}
    {%- set rows -%}
        read_parquet(
            [
            {%- for path in files %}
                '{{ path | replace("'", "''") }}'{{ ',' if not loop.last }}
            {%- endfor %}
            ],
            union_by_name = true,
            hive_partitioning = false
        )
    {%- endset -%}
    {%- do return(rows) -%}
{% endmacro %}


{% macro duckdb__list_lake() %}
    {%- set lake = lake_address() -%}
    create schema if not exists {{ meta_schema() }};

    create or replace table {{ meta_table('lake_batches') }} as
    with files as (
        select
            file,
            split_part(file, '/', -4) as source_name,
            split_part(file, '/', -3) as table_name,
            replace(split_part(file, '/', -2), 'partition=', '') as partition_key,
            split_part(file, '/', -1) as file_name
        -- Quarantine lies one level deeper.
        from glob('{{ lake | replace("'", "''") }}/*/*/partition=*/*')
    ),
    listed as (
        select
            source_name,
            table_name,
            partition_key,
            regexp_replace(file_name, '[.]parquet$', '') as batch_id,
            file as file_path,
            -- A merged file counts in place of the files that it was merged from.
            '' as precedence
        from files
        -- Files being written do not end in .parquet.
        where file_name like '%.parquet'
        union all
        select *, file_path as precedence
        from ({{ merged_batches(lake) }}) as merged
    ),
    batches as (
        select source_name, table_name, partition_key, batch_id, max_by(file_path, precedence) as file_path
        from listed
        where true
        {%- if is_external() %}
            and source_name <> 'salesforce'
        {%- endif %}
        {%- for source_name in sources_off() %}
            and source_name <> '{{ source_name }}'
        {%- endfor %}
        group by all
    ),
    -- Partitions that have landed early: a file beside their batches names the minute.
    landed_early as (
        select
            source_name,
            table_name,
            partition_key,
            max(timezone('UTC', strptime(file_name, 'until=%Y-%m-%dT%H%MZ'))) as read_until
        from files
        where file_name like 'until=%'
        group by all
    )
    select
        batches.*,
        coalesce(
            landed_early.read_until,
            {{ partition_boundary('cast(batches.partition_key as date) + 1') }}
        ) as read_until
    from batches
    left join landed_early using (source_name, table_name, partition_key)
    order by all;

    {{ make_ledger(target.database) }}

    {{ drop_staging_of_older_release() }}

    {{ list_external_tables() }}
{% endmacro %}


{% macro duckdb__follow_compaction() %}
    {%- set update -%}
        update {{ meta_table('lake_batches') }} as listed
        set file_path = merged.file_path
        from (
            select source_name, table_name, batch_id, max(file_path) as file_path
            from ({{ merged_batches(lake_address()) }}) as merged_files
            group by all
        ) as merged
        where
            listed.source_name = merged.source_name
            and listed.table_name = merged.table_name
            and listed.batch_id = merged.batch_id
    {%- endset -%}
    {%- do adapter.execute(update, auto_begin=true) -%}
    {%- do adapter.commit() -%}
{% endmacro %}


{#- Select of the batches in merged files by the lists beside them, once for each file that holds one. -#}
{% macro merged_batches(lake) %}
    {%- set files = run_query("select file from glob('" ~ lake | replace("'", "''") ~ "/*/*/month=*/*.parquet') order by file") -%}
    select
        split_part(filename, '/', -4) as source_name,
        split_part(filename, '/', -3) as table_name,
        partition_key,
        batch_id,
        regexp_replace(filename, '[.]batches[.]json$', '.parquet') as file_path
    {%- if files.rows %}
    from read_json(
        [
        {%- for row in files.rows %}
            '{{ (row[0][:-8] ~ '.batches.json') | replace("'", "''") }}'{{ ',' if not loop.last }}
        {%- endfor %}
        ],
        format = 'newline_delimited',
        columns = {batch_id: 'varchar', partition_key: 'varchar'},
        filename = true
    )
    {%- else %}
    from (select '' as filename, '' as partition_key, '' as batch_id where false)
    {%- endif %}
{% endmacro %}


{#- Statements by which what an older release has built beside core and mart goes: it is built afresh from the lake. -#}
{% macro drop_staging_of_older_release() %}
    {%- set query -%}
        select schema_name from duckdb_schemas()
        where database_name = '{{ target.database }}' and schema_name in ('gtm_staging', 'gtm_intermediate')
    {%- endset -%}
    {%- for row in run_query(query).rows %}
    drop schema {{ api.Relation.create(database=target.database, schema=row[0]) }} cascade;
    {%- if loop.last %}
    delete from {{ meta_table('consumed_batches') }}
    where starts_with(model, 'base_') or starts_with(model, 'int_');
    {%- endif %}
    {%- endfor %}
{% endmacro %}


{% macro duckdb__staging_database() %}
    {%- do return('staging') -%}
{% endmacro %}


{% macro duckdb__end_of_hook() -%}
{%- endmacro %}


{#- The files, by the pattern that the source's yml names, which is that of a lake in the state folder. -#}
{% macro duckdb__lake_relation(relation, source_name, table_name) %}
    {%- if not execute or lake_address() == env_var('GTM_HOME', '../.gtm') ~ '/lake' -%}
        {%- do return(relation) -%}
    {%- endif -%}
    {%- set here = "'" ~ (lake_address() | replace("'", "''")) ~ '/' -%}
    {%- do return(relation.replace(external=relation.external | replace("'lake/", here))) -%}
{% endmacro %}


{#- The folder, or the bucket's prefix, in which the lake lies. -#}
{% macro lake_address() %}
    {%- do return(env_var('GTM_LAKE_URL', env_var('GTM_HOME', '../.gtm') ~ '/lake')) -%}
{% endmacro %}
