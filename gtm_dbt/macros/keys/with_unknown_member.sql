{#-
    Selects the rows of a dimension and its unknown member, to which facts point whose key is not found.
    values: the columns of the member that are not null, as SQL. A unit test knows no columns and gets the rows alone.
-#}
{% macro with_unknown_member(rows, values) %}
    {%- if not model.columns -%}
        select * from {{ rows }}
    {%- else -%}
        select {{ contracted_columns() | map(attribute='name') | join(', ') }}
        from {{ rows }}
        union all
        select
        {%- for column in contracted_columns() %}
            cast({{ values.get(column.name, 'null') }} as {{ engine_type(column.data_type) }}) as {{ column.name }}
            {{- ',' if not loop.last }}
        {%- endfor %}
    {%- endif -%}
{% endmacro %}
