{#- Aggregate: the median of the numbers, as a double; null where there are none. -#}
{% macro median(number) -%}
    {{ adapter.dispatch('median', 'gtm_dbt')(number) }}
{%- endmacro %}
