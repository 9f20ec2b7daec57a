{#-
    A view's columns have the types of its contract. dbt compares the names of types alone, so that without the casts a
    decimal of a view may have any number of digits.
-#}
{% macro postgres__create_view_as(relation, sql) %}
    {%- set is_contracted = config.get('contract').enforced -%}
    {%- if is_contracted -%}
        {{ get_assert_columns_equivalent(sql) }}
    {%- endif %}
    create view {{ relation }} as (
    {%- if is_contracted %}
        select
        {%- for column in model.columns.values() %}
            cast(contracted.{{ column.name }} as {{ column.data_type }}) as {{ column.name }}{{ ',' if not loop.last }}
        {%- endfor %}
        from (
        {{ sql }}
        ) as contracted
    {%- else %}
        {{ sql }}
    {%- endif %}
    )
{% endmacro %}
