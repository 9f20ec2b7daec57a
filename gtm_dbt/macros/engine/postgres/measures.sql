{#- Whole numbers of millionths, as on DuckDB: a quotient of decimals is rounded, and would be rounded twice. -#}
{% macro postgres__average_amount(amount, count) -%}
    {%- set millionths = 'cast(' ~ amount ~ ' * 1000000 as numeric(38, 0))' -%}
    cast(
        sign({{ millionths }})
        * div(2 * abs({{ millionths }}) + 10000 * ({{ count }}), nullif(20000 * ({{ count }}), 0))
        as decimal(36, 0)
    ) * 0.01
{%- endmacro %}


{#- percentile_cont() interpolates in another order than other engines do, and so differs in the last digit. -#}
{% macro postgres__median(number) -%}
    (
        cast(percentile_disc(0.5) within group (order by {{ number }}) as double precision)
        + cast(percentile_disc(0.5) within group (order by {{ number }} desc) as double precision)
    ) / 2
{%- endmacro %}
