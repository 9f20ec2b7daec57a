{#- A schema is called what the project calls it, with the prefix of its environment. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ schema_named(custom_schema_name or target.schema) }}
{%- endmacro %}


{#- The schema that the project calls `gtm_<layer>`. Where environments share a database, each has a prefix of its own. -#}
{% macro schema_named(name) -%}
    {{- env_var('GTM_SCHEMA_PREFIX', 'gtm_') ~ (name | trim).removeprefix('gtm_') if (name | trim).startswith('gtm_') else name | trim -}}
{%- endmacro %}
