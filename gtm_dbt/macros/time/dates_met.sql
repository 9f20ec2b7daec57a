{#-
    Select of the first and the last day of dates and instants, and of each that lies far off: dim_date has all days
    between. `dated` lists pairs of a model and its column. An instant, whose name ends in _at as the cursor's does
    not, is taken in the reporting time zone.

    Which days lie far off is asked in whole years, and a year nearer than dim_date asks: a date in a time zone is made
    for few instants only.
-#}
{% macro dates_met(dated) %}
    {%- for model_name, column in dated %}
        {%- set is_instant = column.endswith('_at') or column == 'system_modstamp' %}
        {%- set near = column ~ ' between ' ~ day_as(is_instant, '1991-01-01') ~ ' and ' ~ day_as(is_instant, '2098-12-31') %}
    {{ 'union' if not loop.first }}
    select {{ to_reporting_date('met.met_at') if is_instant else 'met.met_at' }} as date_day
    from (
        select min({{ column }}) as met_at
        from {{ ref(model_name) }}
        where {{ near }}
        union all
        select max({{ column }}) as met_at
        from {{ ref(model_name) }}
        where {{ near }}
        union all
        select {{ column }} as met_at
        from {{ ref(model_name) }}
        where not {{ near }}
    ) as met
    where met.met_at is not null
    {%- endfor %}
{%- endmacro %}


{#- A day as a date, or as the instant at which it begins in UTC. -#}
{% macro day_as(is_instant, day) -%}
    {{ "cast('" ~ day ~ " 00:00:00+00' as " ~ engine_type('timestamp with time zone') ~ ")" if is_instant else "cast('" ~ day ~ "' as date)" }}
{%- endmacro %}
