{#- How an external value becomes one of the catalogue's type, and which values do not. -#}


{#- Type of an external value, and whether it is text: an empty text stands for null in any other type. -#}
{% macro is_text(data_type) %}
    {%- do return((data_type | lower).startswith(('varchar', 'char', 'text', 'string'))) -%}
{% endmacro %}


{% macro is_decimal(data_type) %}
    {%- do return((data_type | lower).startswith(('decimal', 'numeric'))) -%}
{% endmacro %}


{#- An external number; a floating point one by its shortest text, as the lake reads it: 0.045 has three decimals. -#}
{% macro as_written(value, external_type) -%}
    {{ 'cast(' ~ value ~ ' as varchar)' if external_type in ['double', 'float', 'real'] else value }}
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


{#- An external value in the catalogue's type. -#}
{% macro cast_external(value, external_type, data_type) -%}
    {%- if is_text(external_type) and not is_text(data_type) -%}
        {%- set value = "nullif(trim(" ~ value ~ "), '')" -%}
    {%- endif -%}
    {%- if external_type == data_type -%}
        {{ value }}
    {%- elif data_type == 'date' and external_type != 'date' -%}
        cast(cast({{ value }} as timestamp with time zone) as date)
    {%- elif data_type == 'bigint' and is_text(external_type) -%}
        cast(cast({{ value }} as decimal(38, 10)) as bigint)
    {%- elif is_decimal(data_type) -%}
        cast({{ as_written(value, external_type) }} as {{ data_type }})
    {%- else -%}
        cast({{ value }} as {{ data_type }})
    {%- endif -%}
{%- endmacro %}


{#-
    Conditions under which an external value is not one of the catalogue's type: `unreadable` (there is no such value)
    and `inexact` (it loses its time of day, or decimals). None where all values of the external type fit: a number or
    a date of the same type may still be infinite, or not a number, which nothing can be added to.
-#}
{% macro external_misfits(value, external_type, data_type) %}
    {%- do return(adapter.dispatch('external_misfits', 'gtm_dbt')(value, external_type, data_type)) -%}
{% endmacro %}

{% macro duckdb__external_misfits(value, external_type, data_type) %}
    {%- set holds_all = external_type == data_type and data_type not in ['double', 'date'] -%}
    {%- if holds_all or is_text(data_type) or holds_decimals(data_type, external_type) -%}
        {%- do return(none) -%}
    {%- endif -%}
    {%- if is_text(external_type) -%}
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
            {%- set number = 'try_cast(' ~ as_written(value, external_type) ~ ' as decimal(38, 20))' -%}
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
