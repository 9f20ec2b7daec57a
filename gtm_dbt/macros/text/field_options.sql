{#-
    Selects one row per field and possible value: field_key, option_id, option_label. It reads the JSON lists in
    field_value_options of the given relation. A text that is not a list of objects gives no row.
-#}
{% macro field_options(fields) -%}
    {{ adapter.dispatch('field_options', 'gtm_dbt')(fields) }}
{%- endmacro %}

{% macro duckdb__field_options(fields) -%}
    select
        listed.field_key,
        json_extract_string(listed.field_option, '$.id') as option_id,
        min(json_extract_string(listed.field_option, '$.label')) as option_label
    from (
        select
            fields.field_key,
            unnest(
                case
                    when json_valid(fields.field_value_options)
                        then json_extract(fields.field_value_options, '$[*]')
                end
            ) as field_option
        from {{ fields }} as fields
    ) as listed
    where json_extract_string(listed.field_option, '$.id') is not null
    group by listed.field_key, json_extract_string(listed.field_option, '$.id')
{%- endmacro %}
