{#- dbt compares what a unit test gives and expects as texts, and a decimal of PostgreSQL keeps zeros at its end. -#}
{% macro postgres__get_unit_test_sql(main_sql, expected_fixture_sql, expected_column_names) %}
    {{ default__get_unit_test_sql(
        without_zeros_at_the_end(main_sql), without_zeros_at_the_end(expected_fixture_sql), expected_column_names
    ) }}
{% endmacro %}


{#- Select of a query's rows in which decimals have no more places than they need. -#}
{% macro without_zeros_at_the_end(sql) %}
    select
    {%- for column in adapter.get_column_schema_from_query(get_empty_subquery_sql(sql)) %}
        {{ 'trim_scale(given.' ~ column.quoted ~ ') as ' ~ column.quoted if column.dtype == 'DECIMAL' else 'given.' ~ column.quoted }}
        {{- ',' if not loop.last }}
    {%- endfor %}
    from (
    {{ sql }}
    ) as given
{% endmacro %}
