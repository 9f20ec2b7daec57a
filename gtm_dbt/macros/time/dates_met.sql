{#-
    Select of the days, each once, of dates and instants: `dated` lists pairs of a model and its column. An instant,
    whose name ends in _at as the cursor's does not, is taken in the reporting time zone.
-#}
{% macro dates_met(dated) %}
    {%- for model_name, column in dated %}
        {%- set is_instant = column.endswith('_at') or column == 'system_modstamp' %}
    {{ 'union' if not loop.first }}
    select {{ to_reporting_date(column) if is_instant else column }} as date_day
    from {{ ref(model_name) }}
    group by 1
    {%- endfor %}
{%- endmacro %}
