{#-
    Currencies of amounts that cannot be added, and which amounts have them. Without the var reporting_currency:
    all currencies, where there are several. With it: those for which a rate is missing.
-#}
{% test one_currency(model) %}

{%- set reporting_currency = var('reporting_currency', none) %}

with

counted as (
    select
        currency_iso_code,
        amounts_of,
        {{ 'amount_count' if reporting_currency is none else 'amount_without_rate_count' }} as amount_count
    from {{ model }}
)

select
    currency_iso_code,
    {{ listed_values("amounts_of || ' ' || cast(amount_count as " ~ engine_type('varchar') ~ ")", 'amount_count desc, amounts_of') }} as amounts
from counted
where
    amount_count > 0
    {%- if reporting_currency is none %}
    and (select count(distinct all_counted.currency_iso_code) from counted as all_counted) > 1
    {%- endif %}
group by currency_iso_code
order by currency_iso_code

{% endtest %}
