{#-
    Before the first model, in external mode: gtm_meta.external_tables says of each raw table what the external
    database has of it, gtm_meta.external_now the models' now, gtm_meta.tables_not_read which tables lie there that the catalogue
    does not have, gtm_meta.external_misfits which columns hold values that are cut to the catalogue's type,
    gtm_meta.external_flaws which records lie ahead of now or have intervals that can't be. In other modes all are
    empty. A value that can't be read is an error: as null it would be lost.

    with_lake: whether the lake has been listed, from which other sources are read.
-#}
{% macro list_external_tables(with_lake=true) %}
    {%- set tables = [] -%}
    {%- set misfits = [] -%}
    {%- set unread = [] -%}
    {%- if is_external() -%}
        {%- if var('as_of', none) is not none -%}
            {%- do exceptions.raise_compiler_error(
                'as_of needs the lake, which keeps when each version was seen. External tables do not'
            ) -%}
        {%- endif -%}
        {%- for node in graph.sources.values() if is_external(node.source_name) -%}
            {%- set external = external_table(node.source_name, node.name) -%}
            {%- do tables.append([node, external]) -%}
            {%- do misfits.extend(count_misfits(node.source_name, node.name, external)) -%}
        {%- endfor -%}
        {%- do refuse_unreadable(misfits) -%}
        {%- do refuse_empty_external(tables) -%}
        {%- do warn_of_missing(tables) -%}
        {%- set read = [] -%}
        {%- for node, external in tables if external.relation is not none -%}
            {%- do read.append(external.relation.identifier) -%}
        {%- endfor -%}
        {%- do unread.extend(external_table_names() | reject('in', read)) -%}
    {%- endif -%}
    {#- Their names in a warehouse of an older release. -#}
    {% for name in ['landed_tables', 'landing_now', 'landed_flaws', 'landed_misfits'] %}
    drop table if exists {{ meta_table(name) }};
    {% endfor %}

    create or replace table {{ meta_table('external_tables') }} (
        source_name varchar not null,
        table_name varchar not null,
        external_name varchar,
        has_history boolean not null,
        row_count bigint not null,
        newest_synced_at timestamp with time zone,
        missing_columns varchar,
        unknown_columns varchar
    );

    {% for node, external in tables %}
    insert into {{ meta_table('external_tables') }}
    select
        '{{ node.source_name }}',
        '{{ node.name }}',
        {%- if external.relation is none %}
        null, false, 0, null, null, null
        {%- else %}
        '{{ external.relation.identifier }}',
        {{ external.has_history | lower }},
        count(*),
        max({{ external_value(external, '_fivetran_synced', 'timestamp with time zone') }}),
        '{{ external.missing | sort | join(", ") }}',
        '{{ external.unknown | sort | join(", ") | replace("'", "''") }}'
    from {{ external.relation }} as external_rows
        {%- endif %};
    {% endfor %}

    create or replace table {{ meta_table('tables_not_read') }} (
        table_name varchar not null
    );

    {% for name in unread %}
    insert into {{ meta_table('tables_not_read') }} values ('{{ name | replace("'", "''") }}');
    {% endfor %}

    {#- The newest time that any table was loaded, in the catalogue or not; of the lake the last boundary. -#}
    create or replace table {{ meta_table('external_now') }} as
    select max(loads.loaded_until) as now_at
    from (
        select max(newest_synced_at) as loaded_until
        from {{ meta_table('external_tables') }}
        {%- for relation, value in loaded_tables(unread) %}
        union all
        select max({{ value }}) as loaded_until
        from {{ relation }} as external_rows
        {%- endfor %}
        {%- if tables and with_lake %}
        union all
        select max(read_until) as loaded_until
        from {{ meta_table('lake_batches') }}
        {%- endif %}
    ) as loads
    having count(loads.loaded_until) > 0;

    create or replace table {{ meta_table('external_flaws') }} (
        source_name varchar not null,
        table_name varchar not null,
        flaw varchar not null,
        record_id varchar,
        row_count bigint not null
    );

    {% for node, external in tables if external.relation is not none %}
    insert into {{ meta_table('external_flaws') }}
    select '{{ node.source_name }}', '{{ node.name }}', flaws.flaw, flaws.record_id, flaws.row_count
    from ({{ external_flaws(external, node.config.meta.cursor) }}) as flaws;
    {% endfor %}

    create or replace table {{ meta_table('external_misfits') }} (
        source_name varchar not null,
        table_name varchar not null,
        column_name varchar not null,
        data_type varchar not null,
        record_count bigint not null,
        example_id varchar,
        example_value varchar
    );

    {% for misfit in misfits %}
    insert into {{ meta_table('external_misfits') }}
    values (
        '{{ misfit.source_name }}', '{{ misfit.table_name }}', '{{ misfit.column }}', '{{ misfit.data_type }}',
        {{ misfit.inexact }}, '{{ misfit.id | replace("'", "''") }}', '{{ misfit.value | replace("'", "''") }}'
    );
    {% endfor %}
{% endmacro %}


{#- The same on a warehouse of its own, for `gtm doctor`. -#}
{% macro examine_external() %}
    {%- do run_query('create schema if not exists ' ~ meta_table('external_tables').without_identifier()) -%}
    {%- do run_query(list_external_tables(with_lake=false)) -%}
    {%- do check_pass_through() -%}
{% endmacro %}


{#-
    Those of the tables that are not read that say when their rows were loaded: relation, and that instant. What is
    none there says nothing.
-#}
{% macro loaded_tables(unread) %}
    {%- set loaded = [] -%}
    {%- if unread -%}
        {%- set database = external_database() -%}
        {%- set query -%}
            select table_name, column_name, lower(data_type)
            from information_schema.columns
            where
                lower(table_catalog) = '{{ database | lower }}'
                and lower(table_schema) = 'gtm_raw'
                and lower(column_name) = '_fivetran_synced'
            order by table_name
        {%- endset -%}
        {%- for row in run_query(query).rows if row[0] in unread -%}
            {%- set column, type = 'external_rows.' ~ adapter.quote(row[1]), 'timestamp with time zone' -%}
            {%- set misfits = external_misfits(column, row[2], type) -%}
            {%- set value = cast_external(column, row[2], type) -%}
            {%- if misfits -%}
                {%- set value = 'case when not (' ~ misfits.unreadable ~ ') then ' ~ value ~ ' end' -%}
            {%- endif -%}
            {%- do loaded.append([
                api.Relation.create(database=database, schema='gtm_raw', identifier=row[0]), value
            ]) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- do return(loaded) -%}
{% endmacro %}


{#- The columns of an external table with values that do not fit: how many, and the first of them. -#}
{% macro count_misfits(source_name, table_name, external) %}
    {%- set checked = [] -%}
    {#- Of those that are passed through the var says the type, and check_pass_through whether it is the right one. -#}
    {%- set passed_through = pass_through_columns(source_name, table_name) | map(attribute='name') | list -%}
    {%- set of_loader = [
        {'name': '_fivetran_active', 'data_type': 'boolean'},
        {'name': '_fivetran_start', 'data_type': 'timestamp with time zone'},
        {'name': '_fivetran_end', 'data_type': 'timestamp with time zone'},
    ] -%}
    {%- for column in raw_columns(source_name, table_name) + of_loader if column.name in external.columns and column.name not in passed_through -%}
        {%- set own = external.columns[column.name] -%}
        {%- set value = 'external_rows.' ~ adapter.quote(own.name) -%}
        {%- set misfits = external_misfits(value, own.data_type, column.data_type) -%}
        {%- if misfits -%}
            {%- do checked.append([column, value, misfits]) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set found = [] -%}
    {%- if checked -%}
        {%- set counts -%}
            select
            {%- for column, value, misfits in checked %}
                sum(case when {{ misfits.unreadable }} then 1 else 0 end),
                sum(case when {{ misfits.inexact }} then 1 else 0 end){{ ',' if not loop.last }}
            {%- endfor %}
            from {{ external.relation }} as external_rows
        {%- endset -%}
        {%- set counted = run_query(counts).rows[0] -%}
        {%- for column, value, misfits in checked -%}
            {%- set unreadable, inexact = counted[loop.index0 * 2] or 0, counted[loop.index0 * 2 + 1] or 0 -%}
            {%- if unreadable or inexact -%}
                {%- set example -%}
                    select
                        min({{ external_value(external, 'id', 'varchar') }}),
                        min_by(cast({{ value }} as varchar), {{ external_value(external, 'id', 'varchar') }})
                    from {{ external.relation }} as external_rows
                    where {{ misfits.unreadable if unreadable else misfits.inexact }}
                {%- endset -%}
                {%- set first = run_query(example).rows[0] -%}
                {%- do found.append({
                    'source_name': source_name,
                    'table_name': table_name,
                    'column': column.name,
                    'data_type': column.data_type,
                    'unreadable': unreadable | int,
                    'inexact': inexact | int,
                    'id': first[0] | string,
                    'value': first[1] | string,
                }) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- do return(found) -%}
{% endmacro %}


{% macro refuse_unreadable(misfits) %}
    {%- set lines = [] -%}
    {%- for misfit in misfits if misfit.unreadable -%}
        {%- do lines.append(
            misfit.source_name ~ '.' ~ misfit.table_name ~ '.' ~ misfit.column ~ ': ' ~ misfit.unreadable
            ~ ' values are not a ' ~ misfit.data_type ~ ', such as ' ~ misfit.value ~ ' of ' ~ misfit.id
        ) -%}
    {%- endfor -%}
    {%- if lines -%}
        {%- do exceptions.raise_compiler_error(
            'the external database holds values that can not be read, and as nulls they would be lost. '
            ~ 'Nothing was built. Mend them in the external database, or the column in the catalogue:\n' ~ lines | join('\n')
        ) -%}
    {%- endif -%}
{% endmacro %}


{% macro warn_of_missing(tables) %}
    {%- set missing = [] -%}
    {%- for node, external in tables if external.relation is none -%}
        {%- do missing.append(node.name) -%}
    {%- endfor -%}
    {%- if missing -%}
        {%- do exceptions.warn(
            'not in the external database, and counted as empty: ' ~ missing | sort | join(', ')
            ~ '. What is tested of these sources, and their freshness, says nothing'
        ) -%}
    {%- endif -%}
{% endmacro %}


{% macro refuse_empty_external(tables) %}
    {%- set present = [] -%}
    {%- for node, external in tables if external.relation is not none and '_fivetran_synced' in external.columns -%}
        {%- do present.append(node.name) -%}
    {%- endfor -%}
    {%- if not present -%}
        {%- do exceptions.raise_compiler_error(
            'the external database has none of the tables of the catalogue with a column _fivetran_synced in schema '
            ~ 'gtm_raw: without it nothing says as of when the records are known. Is GTM_EXTERNAL_DATABASE the right one?'
        ) -%}
    {%- endif -%}
{% endmacro %}
