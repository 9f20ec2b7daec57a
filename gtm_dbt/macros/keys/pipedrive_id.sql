{#- An id of Pipedrive in core. It has a prefix, because its numbers could be the ids of another source. -#}
{% macro pipedrive_id(id) -%}
    'pipedrive-' || cast({{ id }} as {{ engine_type('varchar') }})
{%- endmacro %}
