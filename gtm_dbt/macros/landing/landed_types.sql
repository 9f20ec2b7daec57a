{#- How a landed value becomes one of the catalogue's type, and which values do not. -#}


{#- Type of a landed value, and whether it is text: an empty text stands for null in any other type. -#}
{% macro is_text(data_type) %}
    {%- do return((data_type | lower).startswith(('varchar', 'char', 'text', 'string'))) -%}
{% endmacro %}


{#- A landed value in the catalogue's type. -#}
{% macro cast_landed(value, landed_type, data_type) -%}
    {%- if is_text(landed_type) and not is_text(data_type) -%}
        {%- set value = "nullif(trim(" ~ value ~ "), '')" -%}
    {%- endif -%}
    {%- if landed_type == data_type -%}
        {{ value }}
    {%- elif data_type == 'date' and landed_type != 'date' -%}
        cast(cast({{ value }} as timestamp with time zone) as date)
    {%- elif data_type == 'bigint' and is_text(landed_type) -%}
        cast(cast({{ value }} as decimal(38, 10)) as bigint)
    {%- else -%}
        cast({{ value }} as {{ data_type }})
    {%- endif -%}
{%- endmacro %}


{#-
    Conditions under which a landed value is not one of the catalogue's type: `unreadable` (there is no such value)
    and `inexact` (it loses its time of day, or decimals). None where all values of the landed type fit.
-#}
{% macro landed_misfits(value, landed_type, data_type) %}
    {%- do return(adapter.dispatch('landed_misfits', 'gtm_dbt')(value, landed_type, data_type)) -%}
{% endmacro %}

{% macro default__landed_misfits(value, landed_type, data_type) %}
    {{ not_supported('landed_misfits') }}
{% endmacro %}

{% macro duckdb__landed_misfits(value, landed_type, data_type) %}
    {%- if landed_type == data_type or is_text(data_type) -%}
        {%- do return(none) -%}
    {%- endif -%}
    {%- if is_text(landed_type) -%}
        {%- set value = "nullif(trim(" ~ value ~ "), '')" -%}
    {%- endif -%}
    {%- set inexact = 'false' -%}
    {%- if data_type == 'boolean' -%}
        {%- set read = "case when lower(cast(" ~ value ~ " as varchar)) in ('true', 'false') then true end" -%}
    {%- elif data_type == 'date' -%}
        {%- set read = 'try_cast(' ~ value ~ ' as timestamp with time zone)' -%}
        {%- set inexact = read ~ " <> date_trunc('day', " ~ read ~ ')' -%}
    {%- elif data_type.startswith('timestamp') -%}
        {%- set read = 'try_cast(' ~ value ~ ' as timestamp with time zone)' -%}
    {%- elif data_type in ('bigint', 'decimal(18,2)') -%}
        {%- set number = 'try_cast(' ~ value ~ ' as decimal(38, 10))' -%}
        {%- set read = 'try_cast(' ~ number ~ ' as ' ~ data_type ~ ')' -%}
        {%- set inexact = read ~ ' <> ' ~ number -%}
    {%- else -%}
        {%- set read = 'try_cast(' ~ value ~ ' as ' ~ data_type ~ ')' -%}
    {%- endif -%}
    {%- do return({'unreadable': value ~ ' is not null and ' ~ read ~ ' is null', 'inexact': inexact}) -%}
{% endmacro %}
