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


{#- True for pipeline due by the last day of a period, what is overdue included. An opportunity without a close date is not due. -#}
{% macro is_due_by(close_date, last_day) -%}
    coalesce({{ close_date }} <= {{ last_day }}, false)
{%- endmacro %}


{#- By what pipeline changes: the values of `movement`, in the order in which the waterfall shows them. -#}
{% macro pipeline_movements() -%}
    {{
        return([
            'Created', 'First seen', 'Reopened', 'Restored', 'Included', 'Transferred in', 'Transferred out',
            'Increased', 'Decreased', 'Pulled in', 'Pushed out', 'Revalued', 'Won', 'Lost', 'Omitted', 'Deleted',
        ])
    }}
{%- endmacro %}


{#- The column of rep_pipeline_waterfall that adds up a movement. -#}
{% macro movement_column(movement) -%}
    {{ movement | lower | replace(' ', '_') }}_amount
{%- endmacro %}
