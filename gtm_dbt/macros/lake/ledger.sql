{#-
    The ledger: gtm_meta.consumed_batches(model, parent, batch_id) holds which batches each incremental model
    has consumed of each parent. A model's entries are written in the transaction that writes its rows. DuckDB writes
    to one database in a transaction, so each database that models lie in has a ledger of these.

    What there is to consume of a table of the lake is listed once, before the first model, in
    gtm_meta.lake_batches; of a model, what that model has consumed itself. Each batch is listed with up to when its
    partition was read: to its end, or to the minute up to which it has landed early.
-#}

{% macro meta_table(name, database=none) %}
    {#- Spark knows no databases. -#}
    {%- set database = database or target.get('database') -%}
    {%- do return(api.Relation.create(database=database, schema=schema_named('gtm_meta'), identifier=name)) -%}
{% endmacro %}


{#- The schema of these tables, as SQL that makes it names it: PostgreSQL knows no other database. -#}
{% macro meta_schema(database=none) %}
    {%- set schema = meta_table('', database).without_identifier() -%}
    {%- do return(schema if target.type == 'duckdb' else schema.include(database=false)) -%}
{% endmacro %}


{#- The ledger of the database that a model, by default this one, lies in. A unit test knows no other model. -#}
{% macro ledger(model_name=none) %}
    {%- set node = graph.nodes.get('model.' ~ project_name ~ '.' ~ model_name) if execute and model_name else none -%}
    {%- do return(meta_table('consumed_batches', (node or model).database)) -%}
{% endmacro %}

{#- Statements that make a database's ledger where it has none. -#}
{% macro make_ledger(database=none) %}
    create schema if not exists {{ meta_schema(database) }};

    create table if not exists {{ meta_table('consumed_batches', database) }} (
        model {{ engine_type('varchar') }} not null,
        parent {{ engine_type('varchar') }} not null,
        batch_id {{ engine_type('varchar') }} not null
    );

    create table if not exists {{ meta_table('built_models', database) }} (
        model {{ engine_type('varchar') }} not null,
        code {{ engine_type('varchar') }} not null,
        built_afresh_by {{ engine_type('varchar') }} not null,
        parents {{ engine_type('varchar') }} not null,
        invocation_id {{ engine_type('varchar') }} not null
        {%- if not has_transactions() %},
        build_number bigint not null
        {%- endif %}
    );
{% endmacro %}


{#- The database of what core and mart are made of: seeds, staging and intermediate. -#}
{% macro staging_database() %}
    {%- do return(adapter.dispatch('staging_database', 'gtm_dbt')()) -%}
{% endmacro %}


{#- Before the first model: the ledger of that database, in a transaction of its own. -#}
{% macro make_staging() %}
    {%- call as_hook() %}
    {{ make_ledger(staging_database()) }}
    {{ end_of_hook() }}
    {%- endcall %}
{% endmacro %}


{#- Statements as a hook of dbt: each ends with a semicolon and its line. -#}
{% macro as_hook() -%}
    {{ adapter.dispatch('as_hook', 'gtm_dbt')(caller()) }}
{%- endmacro %}


{#-
    Whether statements on several tables are one transaction. Where each is a commit of its own, the ledger is written
    after all that it tells of, and only appended to.
-#}
{% macro has_transactions() %}
    {%- do return(adapter.dispatch('has_transactions', 'gtm_dbt')()) -%}
{% endmacro %}


{#- The end of a hook that runs before the first model. dbt commits none of these: DuckDB does so at each statement. -#}
{% macro end_of_hook() -%}
    {{ adapter.dispatch('end_of_hook', 'gtm_dbt')() }}
{%- endmacro %}

{#- Before the first model: list the lake, once, so that all models of the invocation see the same batches. -#}
{% macro list_lake() %}
    {%- if execute -%}
        {%- call as_hook() %}
        {{ adapter.dispatch('list_lake', 'gtm_dbt')() }}
        {{ end_of_hook() }}
        {%- endcall %}
    {%- endif -%}
{% endmacro %}


{#- Names of the sources that are off: what the lake holds of them is not there. -#}
{% macro sources_off() %}
    {%- do return(env_var('GTM_SOURCES_OFF', '').split(',') | select | list) -%}
{% endmacro %}


{#-
    Operation: the merged files take the place of those that they were merged from in the list of the lake, of
    which checks read the paths. Nothing else of the list changes.
-#}
{% macro follow_compaction() %}
    {%- if execute and adapter.get_relation(target.database, schema_named('gtm_meta'), 'lake_batches') is not none -%}
        {%- do adapter.dispatch('follow_compaction', 'gtm_dbt')() -%}
    {%- endif -%}
{% endmacro %}


{#- Select of the batch ids that there are to consume of a parent: a raw table (`salesforce.account`) or a model. -#}
{% macro available_batches(parent) %}
    {%- if '.' in parent -%}
        {%- set source_name, table_name = parent.split('.') -%}
        {%- if is_external(source_name) -%}
        select '{{ external_batch() }}' as batch_id
        {%- else -%}
        select batch_id
        from {{ meta_table('lake_batches') }}
        where source_name = '{{ source_name }}' and table_name = '{{ table_name }}'
        {%- endif -%}
    {%- else -%}
        select batch_id
        from {{ ledger(parent) }}
        where model = '{{ parent }}'
    {%- endif -%}
{% endmacro %}


{#- Select of the batch ids that this model has consumed of a parent. -#}
{% macro consumed_batches(parent) %}
    select batch_id
    from {{ ledger() }}
    where model = '{{ model.name }}' and parent = '{{ parent }}'
{%- endmacro %}


{#- Select of the batch ids of a parent that this model has not consumed yet. -#}
{% macro unconsumed_batches(parent) %}
    select available.batch_id
    from ({{ available_batches(parent) }}) as available
    left join ({{ consumed_batches(parent) }}) as consumed on available.batch_id = consumed.batch_id
    where consumed.batch_id is null
{%- endmacro %}


{#-
    Condition: a batch not consumed yet belongs to an earlier partition than one that was consumed.
    Then which partition a version came in first, and so which version is the newest, can change for records
    that the late batch does not hold alone.
-#}
{% macro has_late_batch(parent) %}
    exists (
        select 1
        from {{ meta_table('lake_batches') }} as late
        inner join {{ meta_table('lake_batches') }} as earlier
            on late.source_name = earlier.source_name
            and late.table_name = earlier.table_name
            and late.partition_key < earlier.partition_key
        where
            late.batch_id in ({{ unconsumed_batches(parent) }})
            and earlier.batch_id in ({{ consumed_batches(parent) }})
    )
{%- endmacro %}


{#-
    Post-hook, in the model's transaction where there is one: the model has consumed all that there was of its parents
    (default: its one raw table). Entries whose batch is gone are removed, so that a batch put back is read.
    With `as_of` nothing counts as consumed, since not all of it was read.
-#}
{% macro record_consumed(parents=none) %}
    {%- if execute -%}
        {%- set parents = parents or [model.sources[0] | join('.')] -%}
        {%- call as_hook() %}
        {%- for parent in parents if has_transactions() %}
    delete from {{ ledger() }}
    where
        model = '{{ model.name }}'
        and parent = '{{ parent }}'
            {%- if var('as_of', none) is none %}
        and batch_id not in ({{ available_batches(parent) }})
            {%- endif %};
        {%- endfor %}
        {%- if var('as_of', none) is none %}
    insert into {{ ledger() }}
            {%- for parent in parents %}
    select '{{ model.name }}', '{{ parent }}', unconsumed.batch_id
    from ({{ unconsumed_batches(parent) }}) as unconsumed
    {{- ';' if loop.last else ' union all' }}
            {%- endfor %}
        {%- endif %}

        {{ build_recorded() }}
        {%- endcall %}
    {%- endif -%}
{% endmacro %}


{#-
    Post-hook, part of record_consumed and alone where a model consumes no batches: gtm_meta.built_models says with
    which code the model was built, which invocation built it afresh, and on which such builds of its incremental
    parents. Where nobody has told the code, as in dbt by hand, or a view above the model may have been made with another,
    the code is empty.
-#}
{% macro record_build() %}
    {%- if execute -%}
        {%- call as_hook() %}
        {{ build_recorded() }}
        {%- endcall %}
    {%- endif -%}
{% endmacro %}


{#- The statements of record_build. -#}
{% macro build_recorded() %}
    {%- set made_of = model.config.meta.get('made_of', {}) -%}
    {%- set is_known = made_of and not (made_of.views | reject('in', selected_resources) | list) -%}
    {%- set builds = meta_table('built_models', model.database) %}
    insert into {{ builds }}
    select
        '{{ model.name }}',
        '{{ made_of.code if is_known }}',
        {%- if model.get('has_no_table') or should_full_refresh() %}
        '{{ invocation_id }}',
        {%- else %}
        coalesce((select max(built_afresh_by) from {{ built_models(model.database) }} as built where model = '{{ model.name }}'), ''),
        {%- endif %}
        coalesce(
            (
                select {{ joined('build', ' ', 'build') }}
                from ({{ builds_of(made_of.parents) }}) as parents
            ),
            ''
        ),
        '{{ invocation_id }}'
        {%- if has_transactions() %};

    delete from {{ builds }}
    where
        model = '{{ model.name }}'
        and invocation_id <> '{{ invocation_id }}';
        {%- else %},
        coalesce((select max(build_number) from {{ builds }} where model = '{{ model.name }}'), 0) + 1;
        {%- endif %}
{% endmacro %}


{#- Relation of which build of each model stands in a database. -#}
{% macro built_models(database) %}
    {%- set builds = meta_table('built_models', database) -%}
    {%- do return(builds if has_transactions() else last_builds(builds)) -%}
{% endmacro %}


{#- Select of which build of each of the models, given by name, stands. -#}
{% macro builds_of(models) %}
    {%- for model_name in models or [] %}
    select model || ':' || built_afresh_by as build
    from {{ built_models(ledger(model_name).database) }} as built
    where model = '{{ model_name }}'
    {{ 'union all' if not loop.last }}
    {%- else %}
    select '' as build
    where false
    {%- endfor %}
{% endmacro %}
