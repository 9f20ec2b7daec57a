{#-
    Selects one row per field and possible value: field_key, option_id, option_label. It reads the JSON lists in
    field_value_options of the given relation. A text that is not a list of objects gives no row.
-#}
{% macro field_options(fields) -%}
    {{ adapter.dispatch('field_options', 'gtm_dbt')(fields) }}
{%- endmacro %}
