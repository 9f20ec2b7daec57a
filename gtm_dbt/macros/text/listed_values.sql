{#- Aggregate: the texts of a group, joined by commas. -#}
{% macro listed_values(text, order_by) -%}
    {{ adapter.dispatch('listed_values', 'gtm_dbt')(text, order_by) }}
{%- endmacro %}

{% macro duckdb__listed_values(text, order_by) -%}
    string_agg({{ text }}, ', ' order by {{ order_by }})
{%- endmacro %}
