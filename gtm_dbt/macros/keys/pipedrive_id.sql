{#- An id of Pipedrive's as core has it: its numbers would collide with those of other sources. -#}
{% macro pipedrive_id(id) -%}
    'pipedrive-' || cast({{ id }} as varchar)
{%- endmacro %}
