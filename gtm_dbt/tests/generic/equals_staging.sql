{#-
    Records that are in the fact or in staging alone, or whose values differ. Doubled ones are the key's to find.
    columns: {column of the fact: what it is in staging, an expression over `staged`}.
-#}
{% test equals_staging(model, staging, key, columns) %}

with

facts as (
    select * from {{ model }}
),

staged as (
    select * from {{ staging }}
)

select
    facts.{{ key }},
    staged.{{ key }} as staged_{{ key }}
    {%- for column, staged in columns.items() %},
    facts.{{ column }},
    {{ staged }} as staged_{{ column }}
    {%- endfor %}
from facts
full outer join staged on facts.{{ key }} = staged.{{ key }}
where
    facts.{{ key }} is null
    or staged.{{ key }} is null
    {%- for column, staged in columns.items() %}
    or facts.{{ column }} is distinct from {{ staged }}
    {%- endfor %}

{% endtest %}
