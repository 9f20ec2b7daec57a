{#- A text as a whole number that is not negative; null where it is not one. -#}
{% macro whole_number(text) -%}
    {{ adapter.dispatch('whole_number', 'gtm_dbt')(text) }}
{%- endmacro %}
