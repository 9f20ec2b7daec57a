{#-
    A view is replaced in one statement, by dbt's own create_or_replace_view, where dbt's view materialization makes a
    second view, renames both and drops the first. dbt leaves it to the adapter to ask for that, and to commit.
-#}
{%- materialization view, adapter='duckdb' -%}
    {%- set built = create_or_replace_view() -%}
    {%- do adapter.commit() -%}
    {%- do return(built) -%}
{%- endmaterialization -%}


{% macro duckdb__create_view_as(relation, sql) %}
    {%- if config.get('contract').enforced -%}
        {{ get_assert_columns_equivalent(sql) }}
    {%- endif %}
    create or replace view {{ relation }} as (
        {{ sql }}
    )
{% endmacro %}


{#- A table in the view's place goes in the view's transaction: where the view can't be made, the table stays. -#}
{% macro duckdb__handle_existing_table(full_refresh, old_relation) %}
    {%- do adapter.ensure_transaction() -%}
    {%- do adapter.drop_relation(old_relation) -%}
{% endmacro %}
