{#-
    An amount in the var reporting_currency, with six decimals like any other; null where there is no rate for its currency. Without that var amounts
    stay as they are, and the test one_currency refuses several currencies. A record without a currency is of an
    org that has one alone.
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


{#- Condition of a left join of int_currency_rates: the rate of a currency in force on a day. -#}
{% macro rate_in_force(rates, currency, day) -%}
    {{ rates }}.from_currency = {{ currency }}
    and {{ day }} >= {{ rates }}.valid_from
    and ({{ rates }}.valid_to is null or {{ day }} < {{ rates }}.valid_to)
{%- endmacro %}


{#- In a model that adds amounts: it is built once they are known to be of one currency. -#}
{% macro amounts_add_up() -%}
    {%- if not execute -%}
        {%- do ref('int_amount_currencies') -%}
    {%- endif -%}
{%- endmacro %}
