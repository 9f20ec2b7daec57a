{#- How a landed value becomes one of the catalogue's type, and which values do not. -#}


{#- Type of a landed value, and whether it is text: an empty text stands for null in any other type. -#}
{% macro is_text(data_type) %}
    {%- do return((data_type | lower).startswith(('varchar', 'char', 'text', 'string'))) -%}
{% endmacro %}


{% macro is_decimal(data_type) %}
    {%- do return((data_type | lower).startswith(('decimal', 'numeric'))) -%}
{% endmacro %}


{#- A landed number; a floating point one by its shortest text, as the lake reads it: 0.045 has three decimals. -#}
{% macro as_written(value, landed_type) -%}
    {{ 'cast(' ~ value ~ ' as varchar)' if landed_type in ['double', 'float', 'real'] else value }}
{%- endmacro %}


{#- Whether a decimal type holds all values of another: as many digits before the point, and after it. -#}
{% macro holds_decimals(data_type, other_type) %}
    {%- set digits = [] -%}
    {%- for type in [data_type, other_type] -%}
        {%- do digits.extend(modules.re.findall('^(?:decimal|numeric)\\s*\\((\\d+)\\s*,\\s*(\\d+)\\)$', type | lower)) -%}
    {%- endfor -%}
    {%- if digits | length < 2 -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- set own, other = digits -%}
    {%- do return(
        own[1] | int >= other[1] | int
        and own[0] | int - own[1] | int >= other[0] | int - other[1] | int
    ) -%}
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
    {%- elif is_decimal(data_type) -%}
        cast({{ as_written(value, landed_type) }} as {{ data_type }})
    {%- else -%}
        cast({{ value }} as {{ data_type }})
    {%- endif -%}
{%- endmacro %}


{#-
    Conditions under which a landed value is not one of the catalogue's type: `unreadable` (there is no such value)
    and `inexact` (it loses its time of day, or decimals). None where all values of the landed type fit: a number or
    a date of the same type may still be infinite, or not a number, which nothing can be added to.
-#}
{% macro landed_misfits(value, landed_type, data_type) %}
    {%- do return(adapter.dispatch('landed_misfits', 'gtm_dbt')(value, landed_type, data_type)) -%}
{% endmacro %}

{% macro default__landed_misfits(value, landed_type, data_type) %}
    {{ not_supported('landed_misfits') }}
{% endmacro %}

{% macro duckdb__landed_misfits(value, landed_type, data_type) %}
    {%- set holds_all = landed_type == data_type and data_type not in ['double', 'date'] -%}
    {%- if holds_all or is_text(data_type) or holds_decimals(data_type, landed_type) -%}
        {%- do return(none) -%}
    {%- endif -%}
    {%- if is_text(landed_type) -%}
        {%- set value = "nullif(trim(" ~ value ~ "), '')" -%}
    {%- endif -%}
    {%- set inexact = 'false' -%}
    {%- if data_type == 'boolean' -%}
        {%- set read = "case when lower(cast(" ~ value ~ " as varchar)) in ('true', 'false') then true end" -%}
    {%- elif data_type == 'date' -%}
        {%- set read = finite('try_cast(' ~ value ~ ' as timestamp with time zone)') -%}
        {%- set inexact = read ~ " <> date_trunc('day', " ~ read ~ ')' -%}
    {%- elif data_type.startswith('timestamp') -%}
        {%- set read = 'try_cast(' ~ value ~ ' as timestamp with time zone)' -%}
    {%- elif data_type == 'bigint' or is_decimal(data_type) -%}
        {%- if is_decimal(data_type) -%}
            {#- Room for the eighteen digits that an amount may have before its decimals, and for more of these. -#}
            {%- set number = 'try_cast(' ~ as_written(value, landed_type) ~ ' as decimal(38, 20))' -%}
        {%- else -%}
            {%- set number = 'try_cast(' ~ value ~ ' as decimal(38, 10))' -%}
        {%- endif -%}
        {%- set read = 'try_cast(' ~ number ~ ' as ' ~ data_type ~ ')' -%}
        {%- set inexact = read ~ ' <> ' ~ number -%}
    {%- else -%}
        {%- set read = finite('try_cast(' ~ value ~ ' as ' ~ data_type ~ ')') -%}
    {%- endif -%}
    {%- do return({'unreadable': value ~ ' is not null and ' ~ read ~ ' is null', 'inexact': inexact}) -%}
{% endmacro %}


{#- A number or an instant; null where it is infinite or not a number. -#}
{% macro finite(value) -%}
    case when isfinite({{ value }}) then {{ value }} end
{%- endmacro %}
