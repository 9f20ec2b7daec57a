{#-
    Numbers of the model that differ from the same of another one, on one row.
    numbers: {name: {here: an expression over the model's rows, there: one over those of `other`}}.
-#}
{% test adds_up_to(model, other, numbers) %}

with

here as (
    select
        {% for name, number in numbers.items() %}
        {{ number.here }} as {{ name }}{{ "," if not loop.last }}
        {% endfor %}
    from {{ model }}
),

there as (
    select
        {% for name, number in numbers.items() %}
        {{ number.there }} as {{ name }}{{ "," if not loop.last }}
        {% endfor %}
    from {{ other }}
)

select
    {% for name in numbers %}
    here.{{ name }},
    there.{{ name }} as {{ name }}_there{{ "," if not loop.last }}
    {% endfor %}
from here
cross join there
where
    {% for name in numbers %}
    {{ "or " if not loop.first }}here.{{ name }} is distinct from there.{{ name }}
    {% endfor %}

{% endtest %}
