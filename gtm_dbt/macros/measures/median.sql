{#- Aggregate: the median, as a double of nine decimals, in which engines agree; null where there are no numbers. -#}
{% macro median(number) -%}
    {{ adapter.dispatch('median', 'gtm_dbt')(number) }}
{%- endmacro %}
