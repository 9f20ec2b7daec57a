{#- Whole numbers of millionths, as on DuckDB: a quotient of decimals is rounded, and would be rounded twice. -#}
{% macro spark__average_amount(amount, count) -%}
    {%- set millionths = 'cast(' ~ amount ~ ' * 1000000 as decimal(38, 0))' -%}
    cast(
        case when {{ millionths }} < 0 then -1 else 1 end
        * ((2 * abs({{ millionths }}) + 10000 * ({{ count }})) div nullif(20000 * ({{ count }}), 0))
        as decimal(36, 0)
    ) * 0.01
{%- endmacro %}


{% macro spark__median(number) -%}
    cast(median({{ number }}) as double)
{%- endmacro %}
