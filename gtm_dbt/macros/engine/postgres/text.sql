{#- The function is made before the first model: PostgreSQL 15 cannot ask whether a text is JSON. -#}
{% macro postgres__field_options(fields) -%}
    select
        listed.field_key,
        listed.field_option ->> 'id' as option_id,
        min(listed.field_option ->> 'label') as option_label
    from (
        select
            fields.field_key,
            json_array_elements({{ meta_table('json_list') }}(fields.field_value_options)) as field_option
        from {{ fields }} as fields
    ) as listed
    where listed.field_option ->> 'id' is not null
    group by listed.field_key, listed.field_option ->> 'id'
{%- endmacro %}


{% macro postgres__joined(text, separator, order_by) -%}
    string_agg({{ text }}, '{{ separator }}' order by {{ order_by }})
{%- endmacro %}


{#- Letters are those of the database's LC_CTYPE, which has to be one of UTF-8. -#}
{% macro postgres__normalised_text(text) -%}
    nullif(
        trim(regexp_replace(
            regexp_replace(
                replace(
                    lower(regexp_replace(normalize({{ text }}, nfd), '[\u0300-\u036f]', '', 'g')),
                    '&', ' and '
                ),
                '[.''’]', '', 'g'
            ),
            '[^[:alnum:]]+', ' ', 'g'
        )),
        ''
    )
{%- endmacro %}


{% macro postgres__company_domain(address) -%}
    nullif(
        regexp_replace(
            substring(
                lower(trim({{ address }})) from '^(?:[a-z]+://)?(?:[^@/]*@)?(?:www[.])?([^/:?#\s]+[.][^/:?#\s]+)'
            ),
            '^({{ var("free_email_domains") | join("|") | replace(".", "[.]") }})$',
            ''
        ),
        ''
    )
{%- endmacro %}


{% macro postgres__whole_number(text) -%}
    {%- set digits = "substring(" ~ text ~ " from '^[[:space:]]*([0-9]+)(?:[.]0*)?[[:space:]]*$')" -%}
    case when cast({{ digits }} as numeric) < 9223372036854775808 then cast({{ digits }} as bigint) end
{%- endmacro %}


{% macro postgres__decimal_number(text) -%}
    {%- set number = "substring(" ~ text ~ " from '^[[:space:]]*([-+]?[0-9]+[.]?[0-9]*(?:[eE][-+]?[0-9]{1,2})?)[[:space:]]*$')" -%}
    case when abs(cast({{ number }} as numeric)) < 1e18 then cast({{ number }} as {{ amount_type() }}) end
{%- endmacro %}


{#- PostgreSQL 15 can't ask whether a text is a date: the day has to lie in the month that the text names. -#}
{% macro postgres__written_date(text) -%}
    {%- set written = "substring(" ~ text ~ " from '^[[:space:]]*([0-9]{4}-(?:0[1-9]|1[0-2])-[0-9]{2})')" -%}
    {%- set day = "cast(left(" ~ written ~ ", 8) || '01' as date) + (cast(right(" ~ written ~ ", 2) as integer) - 1)" -%}
    case when to_char({{ day }}, 'YYYY-MM-DD') = {{ written }} then {{ day }} end
{%- endmacro %}
