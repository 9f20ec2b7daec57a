{#- The engine's names of types by ours, where they differ. -#}
{% macro spark__engine_types() %}
    {%- do return({
        'varchar': 'string',
        'text': 'string',
        'integer': 'int',
        'timestamp with time zone': 'timestamp',
    }) -%}
{% endmacro %}


{#- Ours by the engine's. -#}
{% macro spark_type_names() %}
    {%- do return({'string': 'varchar', 'int': 'integer', 'timestamp': 'timestamp with time zone'}) -%}
{% endmacro %}


{% macro spark__our_type(column) %}
    {%- do return(spark_type_names().get(column.dtype, column.dtype)) -%}
{% endmacro %}


{#- What can not be cast is null. Of dbt's own a unit test's fixture has the types of the yml. -#}
{% macro spark__safe_cast(field, type) -%}
    try_cast({{ field }} as {{ engine_type(type) }})
{%- endmacro %}
