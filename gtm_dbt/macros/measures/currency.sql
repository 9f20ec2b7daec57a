{#-
    An amount in the currency of the var reporting_currency, with six decimals; null where its currency has no rate.
    Without that var the amount is returned as it is, and the test one_currency refuses several currencies. A record has
    no currency where its org has only one.
-#}
{% macro converted(amount, currency, rate) -%}
    {%- set reporting_currency = var('reporting_currency', none) -%}
    {%- if reporting_currency is none -%}
        {{ amount }}
    {%- else -%}
        case
            when coalesce({{ currency }}, '{{ reporting_currency }}') = '{{ reporting_currency }}' then {{ amount }}
            else cast({{ amount }} * {{ rate }} as {{ amount_type() }})
        end
    {%- endif -%}
{%- endmacro %}


{#- Condition of a left join to int_currency_rates: the rate of the currency that is in force on the day. -#}
{% macro rate_in_force(rates, currency, day) -%}
    {{ rates }}.from_currency = {{ currency }}
    and {{ day }} >= {{ rates }}.valid_from
    and ({{ rates }}.valid_to is null or {{ day }} < {{ rates }}.valid_to)
{%- endmacro %}


{#- Call it in a model that adds amounts, so that the model is built after the test of currencies has passed. -#}
{% macro amounts_add_up() -%}
    {%- if not execute -%}
        {%- do ref('int_amount_currencies') -%}
    {%- endif -%}
{%- endmacro %}
