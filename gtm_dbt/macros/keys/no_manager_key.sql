{#- Key of the team of users without a manager. No user has this key. -#}
{% macro no_manager_key() -%}
    'none'
{%- endmacro %}
