{#-
    Amounts keep the decimals that the source gives them, six at most, and their sums are exact. A report rounds each
    of its numbers once, at the end: cents() and what stands on it are for the last select of a report.
-#}


{#- Type of an amount in core. -#}
{% macro amount_type() -%}
    decimal(24, 6)
{%- endmacro %}


{#- A sum of amounts, unrounded; 0 where there is none. `decimals`: those of what is added. -#}
{% macro total(amount, decimals=6) -%}
    cast(coalesce({{ amount }}, 0) as decimal(38, {{ decimals }}))
{%- endmacro %}


{#- An amount to the cent, half a cent away from zero; null where it is. -#}
{% macro cents(amount) -%}
    cast({{ amount }} as decimal(38, 2))
{%- endmacro %}


{#- A sum of amounts to the cent; 0 where there is none. -#}
{% macro money(amount) -%}
    {{ cents('coalesce(' ~ amount ~ ', 0)') }}
{%- endmacro %}


{#- A sum of amounts through a count, to the cent; null where there is nothing to divide by. -#}
{% macro average_amount(amount, count) -%}
    {{ adapter.dispatch('average_amount', 'gtm_dbt')(amount, count) }}
{%- endmacro %}

{% macro default__average_amount(amount, count) %}
    {{ not_supported('average_amount') }}
{% endmacro %}

{#- In whole numbers, a millionth each: DuckDB divides decimals as floating point numbers, which miss half cents. -#}
{% macro duckdb__average_amount(amount, count) -%}
    {%- set millionths = 'cast(' ~ amount ~ ' * 1000000 as hugeint)' -%}
    cast(
        sign({{ millionths }})
        * ((2 * abs({{ millionths }}) + 10000 * ({{ count }})) // nullif(20000 * ({{ count }}), 0))
        as decimal(36, 0)
    ) * 0.01
{%- endmacro %}


{#-
    By how much the rounded rows of a report may together be off the total of these amounts: half a cent for each that
    is no whole number of cents, since a row without such a one is exact.
-#}
{% macro rounding_of_rows(amount) -%}
    coalesce(sum(case when {{ amount }} <> {{ cents(amount) }} then 0.005 else 0 end), 0)
{%- endmacro %}
