{#-
    Select of the versions in the batches that this model has not consumed yet, in the catalogue's types, with
    `_partition`, the partition that each came in. A version that lies in several batches comes as often.
    With the var `as_of`, only of what was known then. In external mode all that the external table holds.

    files: the files to read where the caller has chosen them.
-#}
{% macro lake_versions(source_name, table_name, files=none) %}
    {%- set relation = source(source_name, table_name) -%}
    {%- if execute and is_external(source_name) -%}
        select {{ raw_columns(source_name, table_name) | map(attribute='name') | join(', ') }}
        from {{ relation }} as external_versions
    {%- elif execute -%}
        {%- set columns = raw_columns(source_name, table_name) -%}
        {%- set files = files_to_read(source_name, table_name) if files is none else files -%}
        select
        {%- for column in columns if column.name != '_partition' %}
            cast({{ 'raw_versions.' ~ column.name if files else 'null' }} as {{ column.data_type }}) as {{ column.name }},
        {%- endfor %}
        {%- if files %}
            batches.partition_key as _partition
        from {{ read_batches(files, columns) }} as raw_versions
        left join {{ meta_table('lake_batches') }} as batches
            on raw_versions._batch_id = batches.batch_id
            and batches.source_name = '{{ source_name }}'
            and batches.table_name = '{{ table_name }}'
            {%- if var('as_of', none) is not none %}
        where raw_versions._known_at <= {{ given_as_of(var('as_of')) }}
            {%- endif %}
        {%- else %}
            cast(null as varchar) as _partition
        where 1 = 0
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{#-
    Paths of the files with batches that this model has not consumed; all of them where it is built afresh.
    after_late_batch: 'all' gives all of them too where a batch has come behind one already consumed.
-#}
{% macro files_to_read(source_name, table_name, after_late_batch='unconsumed') %}
    {%- set listed = adapter.get_relation(target.database, 'gtm_meta', 'lake_batches') -%}
    {%- if listed is none -%}
        {#- Compiling before the first run. -#}
        {%- do return([]) -%}
    {%- endif -%}
    {%- set parent = source_name ~ '.' ~ table_name -%}
    {%- set query -%}
        select file_path
        from {{ listed }}
        where
            source_name = '{{ source_name }}'
            and table_name = '{{ table_name }}'
        {%- if is_incremental() %}
            and (
                batch_id in ({{ unconsumed_batches(parent) }})
                {%- if after_late_batch == 'all' %}
                or {{ has_late_batch(parent) }}
                {%- endif %}
            )
        {%- endif %}
        order by partition_key, batch_id
    {%- endset -%}
    {%- set paths = [] -%}
    {%- for row in run_query(query).rows if row[0] not in paths -%}
        {%- do paths.append(row[0]) -%}
    {%- endfor -%}
    {%- do return(paths) -%}
{% endmacro %}


{#- Relation of the files' rows with at least the given columns; one that no file has is null. -#}
{% macro read_batches(files, columns) %}
    {%- do return(adapter.dispatch('read_batches', 'gtm_dbt')(files, columns)) -%}
{% endmacro %}

{% macro duckdb__read_batches(files, columns) %}
    {%- set rows -%}
        (
            select
            {%- for column in columns if column.name != '_partition' %}
                null as {{ column.name }}{{ ',' if not loop.last }}
            {%- endfor %}
            where false
            union all by name
            select * from {{ read_files(files) }}
        )
    {%- endset -%}
    {%- do return(rows) -%}
{% endmacro %}


{#- Relation of the files' rows with the columns that any of them has. -#}
{% macro read_files(files) %}
    {%- do return(adapter.dispatch('read_files', 'gtm_dbt')(files)) -%}
{% endmacro %}

{% macro duckdb__read_files(files) %}
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
