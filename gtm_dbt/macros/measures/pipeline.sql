{#- A won opportunity is closed, whatever its flag says. -#}
{% macro is_closed_opportunity(is_closed, is_won) -%}
    coalesce({{ is_closed }}, false) or coalesce({{ is_won }}, false)
{%- endmacro %}


{#- Pipeline is open, and its forecast category is neither Omitted nor null. is_closed must not be null. -#}
{% macro is_open_pipeline(is_closed, forecast_category) -%}
    not {{ is_closed }} and coalesce({{ forecast_category }}, 'Omitted') <> 'Omitted'
{%- endmacro %}


{#- Amount × probability / 100, exact: an amount has six decimals, a probability four. -#}
{% macro weighted_amount(amount, probability) -%}
    cast({{ amount }} * (cast({{ probability }} as decimal(9, 4)) * 0.01) as decimal(36, 12))
{%- endmacro %}
