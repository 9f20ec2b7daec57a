{#-
    Some incremental models must be built afresh though nobody asked for it, because building on what is there would
    be wrong. Which ones and why is decided once, before the first model, and written to gtm_meta.rebuild_reasons,
    which has a row for each model of the invocation that has been built before and each reason to build it afresh.
-#}


{#- Overrides dbt's: whether this model is built afresh. Asked several times of a model: its first answer holds. -#}
{% macro should_full_refresh() %}
    {%- if execute and 'has_no_table' not in model -%}
        {%- do model.update(has_no_table=load_cached_relation(this) is none) -%}
    {%- endif -%}
    {%- if config.get('full_refresh') is not none -%}
        {%- do return(config.get('full_refresh')) -%}
    {%- endif -%}
    {%- if flags.FULL_REFRESH or not execute or model.config.materialized != 'incremental' -%}
        {%- do return(flags.FULL_REFRESH) -%}
    {%- endif -%}
    {%- if 'is_built_afresh' not in model -%}
        {%- set listed = adapter.get_relation(target.database, schema_named('gtm_meta'), 'rebuild_reasons') -%}
        {#- Without an invocation that builds, as in `dbt compile`, there is no reason. -#}
        {%- set query -%}
            select 1 from {{ listed }}
            where invocation_id = '{{ invocation_id }}' and model = '{{ model.name }}'
        {%- endset -%}
        {%- do model.update(is_built_afresh=(listed is not none and run_query(query).rows | length > 0)) -%}
    {%- endif -%}
    {%- do return(model.is_built_afresh) -%}
{% endmacro %}


{#- Before the first model, after the lake and the external database have been listed: fill the table, and log it. -#}
{% macro list_rebuild_reasons() %}
    {%- if not execute -%}
        {%- do return('') -%}
    {%- endif -%}
    {%- set models = [] -%}
    {%- for node in graph.nodes.values()
        if node.unique_id in selected_resources and node.config.materialized == 'incremental' -%}
        {%- do models.append(node) -%}
    {%- endfor -%}
    {%- set built = built_columns(models) if models else {} -%}
    {%- set of_ledger = reasons_of_ledger() -%}
    {%- set of_code = reasons_of_code(models) -%}
    {%- set reasons = {} -%}
    {%- for node in models if node.name in built -%}
        {%- do reasons.update({
            node.name: reasons_of_invocation() + of_ledger.get(node.name, []) + reasons_of_columns(node, built[node.name])
                + of_code.get(node.name, [])
        }) -%}
    {%- endfor -%}
    {%- set afresh = models | map(attribute='name') | reject('in', built) | list
        + reasons | dictsort | selectattr(1) | map(attribute=0) | list -%}
    {%- set found = {} -%}
    {%- for node in models if node.name in built -%}
        {%- set above = node.config.meta.get('made_of', {}).get('ancestors', []) | select('in', afresh) | list -%}
        {%- for reason in reasons[node.name] or (['what it is made of is built afresh'] if above else []) -%}
            {%- do found.setdefault(reason, []).append(node.name) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for reason, names in found.items() -%}
        {%- do log('built afresh because ' ~ reason ~ ': ' ~ names | sort | join(', '), info=true) -%}
    {%- endfor %}
    {%- call as_hook() %}
    drop table if exists {{ meta_table('rebuild_reasons') }};

    create table {{ meta_table('rebuild_reasons') }} (
        invocation_id {{ engine_type('varchar') }} not null,
        model {{ engine_type('varchar') }} not null,
        reason {{ engine_type('varchar') }} not null
    );

    {% for reason, names in found.items() -%}
    insert into {{ meta_table('rebuild_reasons') }} values
        {%- for name in names %}
        ('{{ invocation_id }}', '{{ name }}', '{{ reason | replace("'", "''") }}'){{ ',' if not loop.last else ';' }}
        {%- endfor %}
    {% endfor %}
    {{ end_of_hook() }}
    {%- endcall %}
{% endmacro %}


{#- Reasons that hold for all models. -#}
{% macro reasons_of_invocation() %}
    {%- set reasons = [] -%}
    {%- if flags.FULL_REFRESH -%}
        {%- do reasons.append('a full refresh was asked for') -%}
    {%- endif -%}
    {%- if var('as_of', none) is not none -%}
        {%- do reasons.append('the table holds what was not known yet as of ' ~ var('as_of')) -%}
    {%- endif -%}
    {%- if is_external() -%}
        {%- do reasons.append('nothing tells which rows of the external database are new') -%}
    {%- endif -%}
    {%- do return(reasons) -%}
{% endmacro %}


{#-
    Reasons that lie in what a model has consumed, by its name: rows of the external database, which no batch of the
    lake replaces, and rows of a source that is off. A child has consumed what its parent had, so it has the reason too,
    until it has been built afresh itself.
-#}
{% macro reasons_of_ledger() %}
    {%- set conditions = {} -%}
    {%- if not is_external() -%}
        {#- A ledger of an older release calls the batch of external tables landing. -#}
        {%- do conditions.update({
            'its rows are those of external tables, which are not read any more':
                "batch_id in ('" ~ external_batch() ~ "', 'landing')"
        }) -%}
    {%- endif -%}
    {%- for source_name in sources_off() -%}
        {%- do conditions.update({
            'it holds rows of ' ~ source_name ~ ', which is off':
                "parent like '" ~ source_name ~ ".%' or parent like 'base_" ~ source_name ~ "@_@_%' escape '@'"
        }) -%}
    {%- endfor -%}
    {%- set reasons = {} -%}
    {%- for reason, condition in conditions.items() -%}
        {%- set query -%}
            select model
            from (
                select * from {{ meta_table('consumed_batches') }}
                union all
                select * from {{ meta_table('consumed_batches', staging_database()) }}
            ) as consumed
            where {{ condition }}
            group by model
        {%- endset -%}
        {%- for row in run_query(query).rows -%}
            {%- do reasons.setdefault(row[0], []).append(reason) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do return(reasons) -%}
{% endmacro %}


{#-
    The reason that lies in the code of a model, or of views above it, by the model's name: the table was built with
    another, or nobody knows with which, or somebody else has written it, or a model above it was built afresh since. Only
    the package tells these: in dbt by hand there is no such reason.
-#}
{% macro reasons_of_code(models) %}
    {%- set query -%}
        select model, code, parents from {{ built_models(target.get('database')) }} as built
        union all
        select model, code, parents from {{ built_models(staging_database()) }} as staging_built
    {%- endset -%}
    {%- set built = {} -%}
    {%- for row in run_query(query).rows -%}
        {%- do built.update({row[0]: row}) -%}
    {%- endfor -%}
    {%- set reasons = {} -%}
    {%- for node in models if node.config.meta.get('made_of') -%}
        {%- set made_of = node.config.meta.made_of -%}
        {%- set row = built.get(node.name) -%}
        {%- set of_parents -%}
            select {{ joined('build', ' ', 'build') }}
            from ({{ builds_of(made_of.parents) }}) as parents
        {%- endset -%}
        {%- if made_of.is_written_by_others -%}
            {%- do reasons.update({node.name: ['somebody else has written its table since it was built']}) -%}
        {%- elif not row or not row[1] -%}
            {%- do reasons.update({node.name: ['nothing tells with which code it was built']}) -%}
        {%- elif row[1] != made_of.code -%}
            {%- do reasons.update({node.name: ['its code has changed since it was built']}) -%}
        {%- elif made_of.parents and row[2] != run_query(of_parents).rows[0][0] -%}
            {%- do reasons.update({node.name: ['what it is made of has been built afresh']}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(reasons) -%}
{% endmacro %}


{#- The reason that lies in a model's columns: they, or their types, are not those that its table was built with. -#}
{% macro reasons_of_columns(node, built) %}
    {%- set columns = contracted_columns(node) if node.config.contract.enforced else raw_columns(*node.sources[0]) -%}
    {%- set wanted = [] -%}
    {%- for column in columns -%}
        {%- do wanted.append(column.name ~ ' ' ~ (column.data_type | replace(' ', '') | lower)) -%}
    {%- endfor -%}
    {%- set changes = [] -%}
    {%- for column in wanted if column not in built -%}
        {%- do changes.append(column ~ ' comes') -%}
    {%- endfor -%}
    {%- for column in built if column not in wanted -%}
        {%- do changes.append(column ~ ' goes') -%}
    {%- endfor -%}
    {%- do return(['its columns have changed (' ~ changes | sort | join(', ') ~ ')'] if changes else []) -%}
{% endmacro %}


{#- The columns of the models' tables, by the model's name, each as `name type`. A model without a table is left out. -#}
{% macro built_columns(models) %}
    {%- set query = adapter.dispatch('built_columns_query', 'gtm_dbt')(models) -%}
    {%- set built = {} -%}
    {%- for row in run_query(query).rows -%}
        {%- do built.update({row[0]: row[1].split('|')}) -%}
    {%- endfor -%}
    {%- do return(built) -%}
{% endmacro %}
