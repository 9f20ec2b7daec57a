{#-
    Select of the versions in the batches that this model has not consumed yet, in the catalogue's types, with
    `_partition_key`, the partition that each came in. A version that lies in several batches comes as often.
    With the var `as_of`, only of what was known then. In external mode all that the external table holds.

    batches: the batches to read where the caller has chosen them, as batches_to_read gives them.
-#}
{% macro lake_versions(source_name, table_name, batches=none) %}
    {%- set relation = source(source_name, table_name) -%}
    {%- if execute and is_external(source_name) -%}
        select {{ raw_columns(source_name, table_name) | map(attribute='name') | join(', ') }}
        from {{ relation }} as external_versions
    {%- elif execute -%}
        {%- set columns = raw_columns(source_name, table_name) -%}
        {%- set batches = batches_to_read(source_name, table_name) if batches is none else batches -%}
        select
        {%- for column in columns if column.name != '_partition_key' %}
            cast({{ 'raw_versions.' ~ column.name if batches else 'null' }} as {{ engine_type(column.data_type) }}) as {{ column.name }},
        {%- endfor %}
        {%- if batches %}
            lake_batches.partition_key as _partition_key
        from {{ read_batches(source_name, table_name, batches, columns) }} as raw_versions
        left join {{ meta_table('lake_batches') }} as lake_batches
            on raw_versions._batch_id = lake_batches.batch_id
            and lake_batches.source_name = '{{ source_name }}'
            and lake_batches.table_name = '{{ table_name }}'
            {%- if var('as_of', none) is not none %}
        where raw_versions._known_at <= {{ given_as_of(var('as_of')) }}
            {%- endif %}
        {%- else %}
            cast(null as {{ engine_type('varchar') }}) as _partition_key
        where 1 = 0
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{#-
    The batches that this model has not consumed, each with batch_id and file_path; all of them where it is built afresh.
    after_late_batch: 'all' gives all of them too where a batch has come behind one already consumed.
-#}
{% macro batches_to_read(source_name, table_name, after_late_batch='unconsumed') %}
    {%- set listed = adapter.get_relation(target.database, schema_named('gtm_meta'), 'lake_batches') -%}
    {%- if listed is none -%}
        {#- Compiling before the first run. -#}
        {%- do return([]) -%}
    {%- endif -%}
    {%- set parent = source_name ~ '.' ~ table_name -%}
    {%- set query -%}
        select batch_id, file_path
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
    {%- do return(listed_batches(query)) -%}
{% endmacro %}


{#- The batches that a query of gtm_meta.lake_batches finds, each with batch_id and file_path. -#}
{% macro listed_batches(query) %}
    {%- set batches = [] -%}
    {%- for row in run_query(query).rows -%}
        {%- do batches.append({'batch_id': row[0], 'file_path': row[1]}) -%}
    {%- endfor -%}
    {%- do return(batches) -%}
{% endmacro %}


{#- Relation of the rows of a table's batches with at least the given columns; one that no batch has is null. -#}
{% macro read_batches(source_name, table_name, batches, columns=[]) %}
    {%- do return(adapter.dispatch('read_batches', 'gtm_dbt')(source_name, table_name, batches, columns)) -%}
{% endmacro %}
