{#- xxhash64 leaves nulls out, so that which values are null is hashed too. -#}
{% macro spark__row_hash(columns) -%}
    xxhash64({{ columns | join(', ') }}, {{ columns | join(' is null, ') }} is null)
{%- endmacro %}
