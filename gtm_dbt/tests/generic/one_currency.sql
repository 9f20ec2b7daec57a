{#- Currencies, where what a report adds has several: then it must not be added. `of`, `and_of`: what it adds. -#}
{% test one_currency(model, of, and_of=none) %}

with

reported as (
    select count(*) as row_count from {{ model }}
),

currencies as (
    select currency_iso_code from {{ of }}
    {%- if and_of %}
    union
    select currency_iso_code from {{ and_of }}
    {%- endif %}
)

select
    count(distinct currencies.currency_iso_code) as currency_count,
    max(reported.row_count) as row_count
from currencies
cross join reported
having count(distinct currencies.currency_iso_code) > 1

{% endtest %}
