{#- Key of the team of those who have no manager. No user has it. -#}
{% macro no_manager_key() -%}
    'none'
{%- endmacro %}
