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


{% macro duckdb__joined(text, separator, order_by) -%}
    string_agg({{ text }}, '{{ separator }}' order by {{ order_by }})
{%- endmacro %}


{% macro duckdb__normalised_text(text) -%}
    nullif(
        trim(regexp_replace(
            regexp_replace(replace(lower(strip_accents({{ text }})), '&', ' and '), '[.''’]', '', 'g'),
            '[^\p{L}\p{N}]+', ' ', 'g'
        )),
        ''
    )
{%- endmacro %}


{% macro duckdb__company_domain(address) -%}
    nullif(
        regexp_replace(
            regexp_extract(
                lower(trim({{ address }})), '^(?:[a-z]+://)?(?:[^@/]*@)?(?:www[.])?([^/:?#\s]+[.][^/:?#\s]+)', 1
            ),
            '^({{ var("free_email_domains") | join("|") | replace(".", "[.]") }})$',
            ''
        ),
        ''
    )
{%- endmacro %}


{% macro duckdb__whole_number(text) -%}
    try_cast(nullif(regexp_extract({{ text }}, '^\s*([0-9]+)([.]0*)?\s*$', 1), '') as bigint)
{%- endmacro %}


{% macro duckdb__decimal_number(text) -%}
    try_cast({{ text }} as {{ amount_type() }})
{%- endmacro %}


{% macro duckdb__written_date(text) -%}
    try_cast(left(trim({{ text }}), 10) as date)
{%- endmacro %}
