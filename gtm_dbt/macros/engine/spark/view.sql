{#- A view's columns have the types of its contract. -#}
{% macro spark__create_view_as(relation, sql) %}
    {%- set is_contracted = config.get('contract').enforced -%}
    {%- if is_contracted -%}
        {{ get_assert_columns_equivalent(sql) }}
    {%- endif -%}
    create or replace view {{ relation }} as
    {{ get_select_subquery(sql) if is_contracted else sql }}
{% endmacro %}
