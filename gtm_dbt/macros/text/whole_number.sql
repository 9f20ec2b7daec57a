{#- A text as a whole number that is not negative; null where it is not one. -#}
{% macro whole_number(text) -%}
    {{ adapter.dispatch('whole_number', 'gtm_dbt')(text) }}
{%- endmacro %}

{% macro duckdb__whole_number(text) -%}
    try_cast(nullif(regexp_extract({{ text }}, '^\s*([0-9]+)([.]0*)?\s*$', 1), '') as bigint)
{%- endmacro %}
