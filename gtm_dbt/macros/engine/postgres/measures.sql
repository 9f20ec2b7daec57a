{#- Whole numbers of millionths, as on DuckDB: a quotient of decimals is rounded, and would be rounded twice. -#}
{% macro postgres__average_amount(amount, count) -%}
    {%- set millionths = 'cast(' ~ amount ~ ' * 1000000 as numeric(38, 0))' -%}
    cast(
        sign({{ millionths }})
        * div(2 * abs({{ millionths }}) + 10000 * ({{ count }}), nullif(20000 * ({{ count }}), 0))
        as decimal(36, 0)
    ) * 0.01
{%- endmacro %}


{% macro postgres__median(number) -%}
    cast(round(cast(percentile_cont(0.5) within group (order by {{ number }}) as numeric), 9) as double precision)
{%- endmacro %}
