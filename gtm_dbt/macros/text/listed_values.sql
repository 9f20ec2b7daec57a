{#- Aggregate: the texts of a group, joined by commas. -#}
{% macro listed_values(text, order_by) -%}
    {{ joined(text, ', ', order_by) }}
{%- endmacro %}


{#- Aggregate: the texts of a group, with a separator between them. -#}
{% macro joined(text, separator, order_by) -%}
    {{ adapter.dispatch('joined', 'gtm_dbt')(text, separator, order_by) }}
{%- endmacro %}
