{#- The engine's names of types by ours, where they differ. -#}
{% macro postgres__engine_types() %}
    {%- do return({'double': 'double precision'}) -%}
{% endmacro %}


{#- Ours by the engine's; a decimal is one of numeric(p, s). -#}
{% macro postgres_type_names() %}
    {%- do return({'text': 'varchar', 'character varying': 'varchar', 'double precision': 'double'}) -%}
{% endmacro %}


{% macro postgres__our_type(column) %}
    {%- if column.is_numeric() -%}
        {%- do return(column.data_type | replace('numeric', 'decimal')) -%}
    {%- endif -%}
    {%- do return(postgres_type_names().get(column.dtype, column.dtype)) -%}
{% endmacro %}
