{#-
    Currencies of amounts that cannot be added, and how many amounts have them. Without the var reporting_currency:
    the currencies, where there are several. With it: those for which a rate is missing.

    column_name: the converted amount. amount: the same as it came. beside: relations with whose amounts these are
    compared; their currencies count too.
-#}
{% test one_currency(model, column_name, amount, beside=[]) %}

with

amounts as (
    select
        currency_iso_code,
        count(*) as amount_count,
        count(case when {{ column_name }} is null then 1 end) as amount_without_rate_count
    from {{ model }}
    where {{ amount }} is not null
    group by currency_iso_code
)

{%- if var('reporting_currency', none) is not none %}

select
    currency_iso_code,
    amount_without_rate_count
from amounts
where amount_without_rate_count > 0

{%- else %},

currencies as (
    select currency_iso_code from amounts
    {%- for other in beside %}
    union
    select currency_iso_code from {{ other }}
    {%- endfor %}
)

select
    currencies.currency_iso_code,
    coalesce(amounts.amount_count, 0) as amount_count
from currencies
left join amounts on currencies.currency_iso_code = amounts.currency_iso_code
where
    currencies.currency_iso_code is not null
    and (select count(distinct all_currencies.currency_iso_code) from currencies as all_currencies) > 1

{%- endif %}

{% endtest %}
