{#-
    dbt's incremental materialization with one commit a model: a table is made or replaced whole, or takes one merge,
    whatever the strategy is called. The hooks after it write the ledger last: a model that is killed before that consumes
    its batches again, which changes nothing.
-#}
{%- materialization incremental, adapter='spark', supported_languages=['sql'] -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing_relation = load_cached_relation(this) -%}

    {{ run_hooks(pre_hooks) }}

    {%- if existing_relation is none or existing_relation.is_view or should_full_refresh() -%}
        {%- if existing_relation is not none and existing_relation.is_view -%}
            {%- do adapter.drop_relation(existing_relation) -%}
        {%- endif -%}
        {%- call statement('main') -%}
            {{ create_table_as(False, target_relation, compiled_code) }}
        {%- endcall -%}
    {%- else -%}
        {%- set rows = this.incorporate(path={'identifier': this.identifier ~ '__dbt_tmp'}).include(schema=false) -%}
        {%- call statement('rows') -%}
            {{ create_temporary_view(rows, compiled_code) }}
        {%- endcall -%}
        {%- call statement('main') -%}
            {{ merge_of_rows(target_relation, rows) }}
        {%- endcall -%}
    {%- endif -%}

    {%- do apply_grants(target_relation, config.get('grants'), should_revoke=true) -%}
    {%- do persist_docs(target_relation, model) -%}

    {{ run_hooks(post_hooks) }}

    {%- do return({'relations': [target_relation]}) -%}
{%- endmaterialization -%}


{#-
    Delete and insert as one merge: what the table holds of the rows' unique keys goes unless it is among the rows.
    Where a unique key has several rows, as in a history, the model's meta names the row's own key, row_key. For the
    strategy `sync` a row without source_system is a key that is gone, and no row.
-#}
{% macro merge_of_rows(target_relation, rows) %}
    {%- set columns = adapter.get_columns_in_relation(target_relation) | map(attribute='name') | list -%}
    {%- set unique_key = config.get('unique_key') -%}
    {%- set row_key = model.config.meta.get('row_key', unique_key) -%}
    {%- set has_gone = config.get('incremental_strategy') == 'sync' -%}
    {%- set fresh -%}
        select
        {%- for column in columns %}
            given.{{ column }},
        {%- endfor %}
            false as _gone
        from {{ rows }} as given
        {%- if has_gone %}
        where given.source_system is not null
        {%- endif %}
    {%- endset -%}
    merge into {{ target_relation }} as built
    using (
        {{ fresh }}
        {%- if has_gone or row_key != unique_key %}
        union all
        select
        {%- for column in columns %}
            held.{{ column }},
        {%- endfor %}
            true as _gone
        from {{ target_relation }} as held
        left semi join {{ rows }} as touched on held.{{ unique_key }} = touched.{{ unique_key }}
        left anti join ({{ fresh }}) as kept on held.{{ row_key }} = kept.{{ row_key }}
        {%- endif %}
    ) as fresh
    on
        built.{{ row_key }} = fresh.{{ row_key }}
        {%- if row_key != unique_key %}
        and built.{{ unique_key }} = fresh.{{ unique_key }}
        {%- endif %}
    when matched and fresh._gone then delete
    when matched then update set
    {%- for column in columns %}
        {{ column }} = fresh.{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
    when not matched and not fresh._gone then insert (
        {{ columns | join(', ') }}
    ) values (
        fresh.{{ columns | join(', fresh.') }}
    )
{% endmacro %}
