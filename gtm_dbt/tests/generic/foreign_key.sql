{#- Rows whose key is null or is none of the other table. -#}
{% test foreign_key(model, column_name, to, field) %}

select facts.*
from {{ model }} as facts
left join {{ to }} as referenced on facts.{{ column_name }} = referenced.{{ field }}
where referenced.{{ field }} is null

{% endtest %}
