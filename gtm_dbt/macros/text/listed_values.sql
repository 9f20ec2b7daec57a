{#- Aggregate: the texts of a group, joined by commas. -#}
{% macro listed_values(text, order_by) -%}
    {{ adapter.dispatch('listed_values', 'gtm_dbt')(text, order_by) }}
{%- endmacro %}
