{#-
    Amounts keep the decimals of the source, at most six, and sums are exact. A report rounds each number once, at the
    end: use cents(), money() and average_amount() only in the last select of a report.
-#}


{#- Type of an amount in core. -#}
{% macro amount_type() -%}
    decimal(24, 6)
{%- endmacro %}


{#- A sum of amounts, unrounded; 0 where it is null. decimals: the number of decimals of the addends. -#}
{% macro total(amount, decimals=6) -%}
    cast(coalesce({{ amount }}, 0) as decimal(38, {{ decimals }}))
{%- endmacro %}


{#- An amount rounded to the cent, half a cent away from zero; null remains null. -#}
{% macro cents(amount) -%}
    cast({{ amount }} as decimal(38, 2))
{%- endmacro %}


{#- A sum of amounts rounded to the cent; 0 where it is null. -#}
{% macro money(amount) -%}
    {{ cents('coalesce(' ~ amount ~ ', 0)') }}
{%- endmacro %}


{#- A sum of amounts divided by a count, rounded to the cent; null where the count is 0. -#}
{% macro average_amount(amount, count) -%}
    {{ adapter.dispatch('average_amount', 'gtm_dbt')(amount, count) }}
{%- endmacro %}


{#-
    The largest difference that the rounding of rows may make to the total of these amounts: half a cent for each amount
    that is not a whole number of cents.
-#}
{% macro rounding_of_rows(amount) -%}
    coalesce(sum(case when {{ amount }} <> {{ cents(amount) }} then 0.005 else 0 end), 0)
{%- endmacro %}
