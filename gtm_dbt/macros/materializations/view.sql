{#-
    Overrides dbt's for DuckDB, which replaces a view in one statement: dbt's own makes a second one, renames both and
    drops the first, of which each takes longer than making it.
-#}
{%- materialization view, adapter='duckdb' -%}
    {%- set built = load_cached_relation(this) -%}
    {%- set view = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if built is not none and not built.is_view -%}
        {#- With what follows: where the view can't be made, the table stays. -#}
        {%- do adapter.ensure_transaction() -%}
        {%- do adapter.drop_relation(built) -%}
    {%- endif -%}
    {%- call statement('main') -%}
        {%- if config.get('contract').enforced -%}
            {{ get_assert_columns_equivalent(sql) }}
        {%- endif %}
        create or replace view {{ view }} as (
            {{ sql }}
        )
    {%- endcall -%}
    {%- do persist_docs(view, model) -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [view]}) }}
{%- endmaterialization -%}
