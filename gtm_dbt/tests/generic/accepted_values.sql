{#-
    Values that are none of the list, with the rows that have them; null is none. In place of dbt's own, whose failures
    count values and not rows.
-#}
{% test accepted_values(model, column_name, values) %}

{{ config(fail_calc='coalesce(sum(row_count), 0)') }}

select
    {{ column_name }} as other_value,
    count(*) as row_count
from {{ model }}
where {{ column_name }} not in (
    {%- for value in values %}
    '{{ value | string | replace("'", "''") }}'{{ ',' if not loop.last }}
    {%- endfor %}
)
group by {{ column_name }}
order by row_count desc, other_value

{% endtest %}
