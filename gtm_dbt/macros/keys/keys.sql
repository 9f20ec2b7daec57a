{#- Key of the unknown member of a dimension. -#}
{% macro unknown_key() -%}
    'unknown'
{%- endmacro %}


{#- Key of the unknown member of dim_date, whose keys are numbers. -#}
{% macro unknown_date_key() -%}
    -1
{%- endmacro %}


{#- Surrogate key: a hash of the given expressions, none of which may be null. -#}
{% macro surrogate_key(expressions) -%}
    md5(
    {%- for expression in expressions -%}
        {{ " || '|' || " if not loop.first }}cast({{ expression }} as {{ engine_type('varchar') }})
    {%- endfor -%}
    )
{%- endmacro %}
