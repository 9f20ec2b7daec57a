{#-
    Rows with a key that is null or is none of its table's, and which keys these are. One scan for all of them.
    keys: {column: {to: relation, field: column of the relation}}.
-#}
{% test foreign_keys(model, keys) %}

select
    concat(
    {%- for column, key in keys.items() %}
        case when referenced_{{ loop.index }}.{{ key.field }} is null then '{{ column }} ' else '' end{{ ',' if not loop.last }}
    {%- endfor %}
    ) as keys_without_a_row,
    referring.*
from {{ model }} as referring
{%- for column, key in keys.items() %}
left join {{ key.to }} as referenced_{{ loop.index }} on referring.{{ column }} = referenced_{{ loop.index }}.{{ key.field }}
{%- endfor %}
where
    {%- for key in keys.values() %}
    {{ 'or ' if not loop.first }}referenced_{{ loop.index }}.{{ key.field }} is null
    {%- endfor %}

{% endtest %}
