{#- A text as a whole number that is not negative; null where it is not one. -#}
{% macro whole_number(text) -%}
    {{ adapter.dispatch('whole_number', 'gtm_dbt')(text) }}
{%- endmacro %}


{#- A text as an amount, with or without an exponent; null where it is not a number. -#}
{% macro decimal_number(text) -%}
    {{ adapter.dispatch('decimal_number', 'gtm_dbt')(text) }}
{%- endmacro %}


{#- A text that begins with a date, as 2026-01-31, as that date; null where it does not. -#}
{% macro written_date(text) -%}
    {{ adapter.dispatch('written_date', 'gtm_dbt')(text) }}
{%- endmacro %}
