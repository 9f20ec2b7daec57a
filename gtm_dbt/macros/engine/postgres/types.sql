{% macro postgres__engine_types() %}
    {%- do return({'double': 'double precision'}) -%}
{% endmacro %}
