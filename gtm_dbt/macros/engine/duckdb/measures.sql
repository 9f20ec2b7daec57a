{#- Divides whole numbers of millionths: DuckDB divides decimals as floating point numbers, which miss half cents. -#}
{% macro duckdb__average_amount(amount, count) -%}
    {%- set millionths = 'cast(' ~ amount ~ ' * 1000000 as hugeint)' -%}
    cast(
        sign({{ millionths }})
        * ((2 * abs({{ millionths }}) + 10000 * ({{ count }})) // nullif(20000 * ({{ count }}), 0))
        as decimal(36, 0)
    ) * 0.01
{%- endmacro %}


{% macro duckdb__median(number) -%}
    cast(median({{ number }}) as double)
{%- endmacro %}
