{#- The engine's names of types by ours, where they differ; below ours by the engine's. -#}
{% macro postgres__engine_types() %}
    {%- do return({'double': 'double precision'}) -%}
{% endmacro %}


{% macro postgres__our_types() %}
    {%- do return({'text': 'varchar', 'character varying': 'varchar', 'double precision': 'double'}) -%}
{% endmacro %}
