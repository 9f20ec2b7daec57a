{#-
    External mode: raw tables that another loader (Fivetran, say) keeps in schema gtm_raw of the external database,
    read where they lie instead of the lake. `external_table` decides at run time what such a table is: which of its columns
    stand for the catalogue's, and what stands for those that it lacks.
-#}

{#- Whether a source's raw tables are external. Without a source: whether any are. -#}
{% macro is_external(source_name='salesforce') %}
    {#- landed, GTM_LANDING_DATABASE: the names of an older release. -#}
    {%- set is_external = env_var('GTM_SALESFORCE_SOURCE', 'synthetic') in ['external', 'landed'] -%}
    {%- do return(source_name == 'salesforce' and is_external) -%}
{% endmacro %}


{#- The batch that all rows of external tables belong to. No batch of the lake is called so. -#}
{% macro external_batch() -%}
    external
{%- endmacro %}


{#- Name under which this connection reads the external database. -#}
{% macro external_database() %}
    {%- do return(adapter.dispatch('external_database', 'gtm_dbt')()) -%}
{% endmacro %}

{% macro duckdb__external_database() %}
    {%- do run_query("attach if not exists '" ~ external_path() | replace("'", "''") ~ "' as gtm_external (read_only)") -%}
    {%- do return('gtm_external') -%}
{% endmacro %}


{#- DuckDB: the file that the external tables lie in. -#}
{% macro external_path() %}
    {%- set path = env_var('GTM_EXTERNAL_DATABASE', '') or env_var('GTM_LANDING_DATABASE', '') -%}
    {%- if not path -%}
        {%- do exceptions.raise_compiler_error(
            'GTM_SALESFORCE_SOURCE=external needs GTM_EXTERNAL_DATABASE: the DuckDB file whose schema gtm_raw holds the tables'
        ) -%}
    {%- endif -%}
    {%- do return(path) -%}
{% endmacro %}


{#- The name that Fivetran gives to a column or table: fivetran_name in raw_table.py says the same in Python. -#}
{% macro fivetran_name(api_name) %}
    {%- set re = modules.re -%}
    {%- set name = re.sub('[^A-Za-z0-9_]', '_', api_name) -%}
    {%- set name = re.sub('(?<=[a-z])(?=[A-Z])', '_', name) -%}
    {%- set name = re.sub('(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])', '_', name) -%}
    {%- set name = re.sub('_+', '_', name).lower() -%}
    {%- do return('_' ~ name if name[:1].isdigit() else name) -%}
{% endmacro %}


{#-
    What the external database has for a raw table, as it was inspected: `relation` (none where the table is missing),
    `columns` (name in the catalogue, of the loader's or passed through, to {name, data_type} in the external table),
    `unknown` names of columns, and `has_history` (history mode: all versions of a record, with the time of each).
-#}
{% macro external_table(source_name, table_name) %}
    {%- set query -%}
        select external_name, column_name, external_column, data_type, is_wanted
        from {{ inspected('columns') }}
        where source_name = '{{ source_name }}' and table_name = '{{ table_name }}'
        order by is_wanted desc, column_name
    {%- endset -%}
    {%- set rows = run_query(query).rows -%}
    {%- set passed_through = pass_through_columns(source_name, table_name) | map(attribute='name') | list -%}
    {%- set columns, unknown = {}, {} -%}
    {%- for row in rows -%}
        {%- if row[4] or row[1] in passed_through -%}
            {%- do columns.update({row[1]: {'name': row[2], 'data_type': row[3]}}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set used = columns.values() | map(attribute='name') | list -%}
    {%- for row in rows if row[2] not in used -%}
        {%- do unknown.update({row[2]: true}) -%}
    {%- endfor -%}
    {%- set relation = none -%}
    {%- if rows -%}
        {%- set relation = api.Relation.create(
            database=external_database(), schema='gtm_raw', identifier=rows[0][0]
        ) -%}
    {%- endif -%}
    {%- do return({
        'relation': relation,
        'columns': columns,
        'unknown': unknown.keys() | list,
        'has_history': '_fivetran_active' in columns and '_fivetran_start' in columns,
    }) -%}
{% endmacro %}


{#- Whether a raw table's earlier versions are known: in the lake, or in an external table in history mode. -#}
{% macro keeps_history(source_name, table_name) %}
    {%- do return(not execute or not is_external(source_name) or external_table(source_name, table_name).has_history) -%}
{% endmacro %}


{#- Whether it is an external table in history mode, whose loader says when each version began. -#}
{% macro is_external_history(source_name, table_name) %}
    {%- do return(execute and is_external(source_name) and external_table(source_name, table_name).has_history) -%}
{% endmacro %}


{#-
    Select of the versions that an external table holds, in the catalogue's types: one per record, in history mode
    all. A column that it lacks is null; of a missing table there is no row.

    The cursor of a record that has none is when it was last modified, else when it was loaded. In history mode
    a version's cursor is when it began by the loader's word, but of records that do not change, whose cursor is
    their creation.
-#}
{% macro external_versions(source_name, table_name) %}
    {%- set node = raw_table(source_name, table_name) -%}
    {%- set external = external_table(source_name, table_name) -%}
    {%- set cursor = node.config.meta.cursor -%}
    {%- set delete_mark = node.config.meta.deletes -%}
    {%- set columns = source_columns(source_name, table_name) -%}
    {%- if external.relation is none -%}
        select
        {%- for column in raw_columns(source_name, table_name) %}
            cast(null as {{ column.data_type }}) as {{ column.name }}{{ ',' if not loop.last }}
        {%- endfor %}
        where 1 = 0
    {%- else -%}
        {%- set synced = external_value(external, '_fivetran_synced', 'timestamp with time zone') -%}
        select
            versions.*,
            {{ surrogate_key(hashed_columns(columns)) }} as _version_hash
        from (
            select
            {%- for column in columns %}
                {%- if column.name == delete_mark %}
                external_rows._gtm_is_deleted
                {%- elif column.name == cursor and cursor != 'created_date' %}
                external_rows._gtm_begins_at
                {%- else %}
                {{ external_value(external, column.name, column.data_type) }}
                {%- endif %} as {{ column.name }},
            {%- endfor %}
                {{ synced }} as _fivetran_synced,
                '{{ external_batch() }}' as _batch_id,
                {{ synced }} as _known_at,
                cast({{ partition_of('external_rows._gtm_begins_at' if external.has_history else synced) }} as varchar) as _partition_key
            from (
                {%- if external.has_history %}
                    {{ external_history(external, cursor) }}
                {%- else %}
                    {{ external_records(external, cursor) }}
                {%- endif %}
            ) as external_rows
        ) as versions
    {%- endif -%}
{% endmacro %}


{#-
    Select of an external table's rows without history mode, each the one version of its record.
    _gtm_begins_at: when the version begins. _gtm_is_deleted: whether its record is deleted.
-#}
{% macro external_records(external, cursor) %}
    select records.*
    from (
        select
            external_rows.*,
            {{ external_cursor(external, cursor) }} as _gtm_begins_at,
            {{ external_value(external, 'created_date', 'timestamp with time zone') }} as _gtm_created_at,
            {{ external_is_marked(external) }} as _gtm_is_deleted
        from {{ external.relation }} as external_rows
        {%- if '_fivetran_active' in external.columns %}
        -- Without its time a version that is no longer active has no place.
        where {{ external_is_active(external) }}
        {%- endif %}
    ) as records
    where {{ now_has_reached('records._gtm_begins_at', 'records._gtm_created_at', 'true') }}
{%- endmacro %}


{#- Condition: an external row says that its record is deleted. -#}
{% macro external_is_marked(external) -%}
    {%- set marks = [] -%}
    {%- for name in ['is_deleted', '_fivetran_deleted'] if name in external.columns -%}
        {%- do marks.append('coalesce(' ~ external_value(external, name, 'boolean') ~ ', false)') -%}
    {%- endfor -%}
    {{ '(' ~ (marks | join(' or ') or 'false') ~ ')' }}
{%- endmacro %}


{#- Condition: the loader says that an external row is how its record is now. -#}
{% macro external_is_active(external) -%}
    coalesce({{ external_value(external, '_fivetran_active', 'boolean') }}, true)
{%- endmacro %}


{#-
    Condition: now has reached a version; what lies ahead of now counts once it has. A record's first version is in
    force from its creation on where that is earlier, as in its history.
-#}
{% macro now_has_reached(begins_at, created_at, is_first) -%}
    coalesce({{ created_at }} <= {{ as_of() }}, true)
    and (coalesce({{ begins_at }} <= {{ as_of() }}, true) or ({{ is_first }} and {{ created_at }} is not null))
{%- endmacro %}


{#- The record's cursor, or what comes nearest to it: when the record was last modified, else when it was loaded. -#}
{% macro external_cursor(external, cursor) -%}
    {%- set stamps = [] -%}
    {%- for name in [cursor, 'last_modified_date', '_fivetran_synced'] -%}
        {%- do stamps.append(external_value(external, name, 'timestamp with time zone')) -%}
    {%- endfor -%}
    coalesce({{ stamps | join(', ') }})
{%- endmacro %}


{#- A column of an external table in the catalogue's type, null where the table lacks it. -#}
{% macro external_value(external, name, data_type) -%}
    {%- if name in external.columns -%}
        {{ cast_external('external_rows.' ~ adapter.quote(external.columns[name].name), external.columns[name].data_type, data_type) }}
    {%- else -%}
        cast(null as {{ data_type }})
    {%- endif -%}
{%- endmacro %}


{#- The columns as texts that tell null from an empty text. -#}
{% macro hashed_columns(columns) %}
    {%- set texts = [] -%}
    {%- for column in columns -%}
        {%- do texts.append("coalesce('=' || cast(versions." ~ column.name ~ " as varchar), '')") -%}
    {%- endfor -%}
    {%- do return(texts) -%}
{% endmacro %}
