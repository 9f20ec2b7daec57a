{#- A dimension without the member to which facts point whose key resolves to nothing. -#}
{% test has_unknown_member(model, column_name) %}

select count(*) as member_count
from {{ model }}
where {{ column_name }} = {{ unknown_key() }}
having count(*) <> 1

{% endtest %}
