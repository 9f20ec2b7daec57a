{#- An engine that a macro was not written for is an error, never a guess. -#}
{% macro not_supported(macro_name) %}
    {%- do exceptions.raise_compiler_error(macro_name ~ ' is not supported on this engine: ' ~ target.type) -%}
{% endmacro %}
