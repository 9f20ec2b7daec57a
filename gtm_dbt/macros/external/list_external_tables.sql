{#-
    What the external database holds is found by gtm_assets/dbt/inspection.py before dbt runs. It refuses what can't be
    read, and leaves what it found in the state folder, a Parquet file a kind.

    Before the first model, in external mode, that becomes tables: gtm_meta.external_tables says of each raw table what
    the external database has of it, gtm_meta.tables_not_read which tables lie there that the catalogue does not have,
    gtm_meta.external_misfits which columns hold values that are cut to the catalogue's type. Beside them
    gtm_meta.external_now has the models' now, and gtm_meta.external_flaws the records that lie ahead of it or have
    intervals that can't be. In other modes all are empty.

    with_lake: whether the lake has been listed, from which other sources are read.
-#}
{% macro list_external_tables(with_lake=true) %}
    {%- if is_external() -%}
        {%- if var('as_of', none) is not none -%}
            {%- do exceptions.raise_compiler_error(
                'as_of needs the lake, which keeps when each version was seen. External tables do not'
            ) -%}
        {%- endif -%}
        {%- do refuse_stale_inspection() -%}
        {%- do warn_of_missing() -%}
    {%- endif -%}
    {#- Their names in a warehouse of an older release. -#}
    {% for name in ['landed_tables', 'landing_now', 'landed_flaws', 'landed_misfits'] %}
    drop table if exists {{ meta_table(name) }};
    {% endfor %}

    drop table if exists {{ meta_table('external_tables') }};
    create table {{ meta_table('external_tables') }} (
        source_name {{ engine_type('varchar') }} not null,
        table_name {{ engine_type('varchar') }} not null,
        external_name {{ engine_type('varchar') }},
        has_history boolean not null,
        row_count bigint not null,
        newest_synced_at {{ engine_type('timestamp with time zone') }},
        missing_columns {{ engine_type('varchar') }},
        unknown_columns {{ engine_type('varchar') }}
    );
    drop table if exists {{ meta_table('tables_not_read') }};
    create table {{ meta_table('tables_not_read') }} (
        table_name {{ engine_type('varchar') }} not null,
        loaded_until {{ engine_type('timestamp with time zone') }}
    );
    drop table if exists {{ meta_table('external_misfits') }};
    create table {{ meta_table('external_misfits') }} (
        source_name {{ engine_type('varchar') }} not null,
        table_name {{ engine_type('varchar') }} not null,
        column_name {{ engine_type('varchar') }} not null,
        data_type {{ engine_type('varchar') }} not null,
        record_count bigint not null,
        example_id {{ engine_type('varchar') }},
        example_value {{ engine_type('varchar') }}
    );
    drop table if exists {{ meta_table('external_now') }};
    create table {{ meta_table('external_now') }} (
        now_at {{ engine_type('timestamp with time zone') }} not null
    );
    drop table if exists {{ meta_table('external_flaws') }};
    create table {{ meta_table('external_flaws') }} (
        source_name {{ engine_type('varchar') }} not null,
        table_name {{ engine_type('varchar') }} not null,
        flaw {{ engine_type('varchar') }} not null,
        record_id {{ engine_type('varchar') }},
        row_count bigint not null
    );
    {% if is_external() %}
    {%- for name, kind in {'external_tables': 'tables', 'tables_not_read': 'unread', 'external_misfits': 'misfits'}.items() %}
    insert into {{ meta_table(name) }} select * from {{ inspected(kind) }};
    {%- endfor %}

    -- The newest time that any table was loaded, in the catalogue or not; of the lake the last boundary.
    insert into {{ meta_table('external_now') }}
    select max(loads.loaded_until)
    from (
        select newest_synced_at as loaded_until from {{ meta_table('external_tables') }}
        union all
        select loaded_until from {{ meta_table('tables_not_read') }}
        {%- if with_lake %}
        union all
        select read_until as loaded_until from {{ meta_table('lake_batches') }}
        {%- endif %}
    ) as loads
    having count(loads.loaded_until) > 0;

    {%- for node in graph.sources.values() if is_external(node.source_name) %}
    {%- set external = external_table(node.source_name, node.name) -%}
    {%- if external.relation is not none %}
    insert into {{ meta_table('external_flaws') }}
    select '{{ node.source_name }}', '{{ node.name }}', flaws.flaw, flaws.record_id, flaws.row_count
    from ({{ external_flaws(external, node.config.meta.cursor) }}) as flaws;
    {%- endif %}
    {%- endfor %}
    {% endif %}
{% endmacro %}


{#- The same on a warehouse of its own, for `gtm doctor`. -#}
{% macro examine_external() %}
    {%- do run_query('create schema if not exists ' ~ meta_schema()) -%}
    {%- do run_query(list_external_tables(with_lake=false)) -%}
    {%- do check_pass_through() -%}
{% endmacro %}


{#- Relation of what the inspection found of a kind: tables, columns, misfits, unread or file. -#}
{% macro inspected(kind) -%}
    {{ read_files([inspected_file(kind)]) }} as inspected
{%- endmacro %}

{% macro inspected_file(kind) %}
    {%- do return(env_var('GTM_HOME', '../.gtm') ~ '/dbt/external/' ~ kind ~ '.parquet') -%}
{% endmacro %}


{#- For dbt run by hand: the external database must be there as it was when it was inspected. -#}
{% macro refuse_stale_inspection() %}
    {%- do adapter.dispatch('refuse_stale_inspection', 'gtm_dbt')() -%}
{% endmacro %}

{% macro duckdb__refuse_stale_inspection() %}
    {%- set found = run_query("select 1 from glob('" ~ inspected_file('file') | replace("'", "''") ~ "')") -%}
    {%- if found.rows -%}
        {%- set query -%}
            select 1
            from {{ inspected('file') }}
            inner join read_blob('{{ external_path() | replace("'", "''") }}') as found
                on inspected.size = found.size and inspected.last_modified = cast(found.last_modified as varchar)
        {%- endset -%}
        {%- set found = run_query(query) -%}
    {%- endif -%}
    {%- if not found.rows -%}
        {%- do exceptions.raise_compiler_error(
            'the external database has not been inspected as it is now, so nothing was built. Inspect it: gtm doctor'
        ) -%}
    {%- endif -%}
{% endmacro %}


{% macro warn_of_missing() %}
    {%- set query -%}
        select table_name from {{ inspected('tables') }}
        where external_name is null
        order by table_name
    {%- endset -%}
    {%- set missing = run_query(query).columns[0].values() -%}
    {%- if missing -%}
        {%- do exceptions.warn(
            'not in the external database, and counted as empty: ' ~ missing | join(', ')
            ~ '. What is tested of these sources, and their freshness, says nothing'
        ) -%}
    {%- endif -%}
{% endmacro %}
