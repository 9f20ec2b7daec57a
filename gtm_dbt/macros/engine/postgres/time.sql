{% macro postgres__partition_boundary(day) -%}
    timezone('America/Los_Angeles', cast({{ day }} as timestamp) + interval '21 hours 49 minutes')
{%- endmacro %}


{% macro postgres__partition_of(instant) -%}
    cast(timezone('America/Los_Angeles', {{ instant }}) - interval '21 hours 49 minutes' as date)
{%- endmacro %}


{% macro postgres__local_date(instant, zone) -%}
    cast(timezone({{ zone }}, {{ instant }}) as date)
{%- endmacro %}


{% macro postgres__known_zone(zone) -%}
    case
        when {{ zone }} in (select zones.name from pg_timezone_names as zones) then {{ zone }}
        else {{ reporting_zone() }}
    end
{%- endmacro %}


{#- Where midnight comes twice, PostgreSQL takes the second too: see duckdb__end_of_day. -#}
{% macro postgres__end_of_day(day, zone) -%}
    {%- set midnight = 'cast(' ~ day ~ ' + 1 as timestamp)' -%}
    {%- set last = 'timezone(' ~ zone ~ ', ' ~ midnight ~ ')' -%}
    {%- set before = "(" ~ last ~ " - interval '6 hours')" -%}
    {%- set first = '(' ~ before ~ ' + (' ~ midnight ~ ' - timezone(' ~ zone ~ ', ' ~ before ~ ')))' -%}
    case when timezone({{ zone }}, {{ first }}) = {{ midnight }} then {{ first }} else {{ last }} end
    - interval '1 microsecond'
{%- endmacro %}


{% macro postgres__epoch_microseconds(instant) -%}
    cast(extract(epoch from {{ instant }}) * 1000000 as bigint)
{%- endmacro %}


{% macro postgres__iso_day_of_week(day) -%}
    cast(extract(isodow from {{ day }}) as integer)
{%- endmacro %}


{% macro postgres__date_spine_between(first_day, last_day) -%}
    select cast(days.date_day as date) as date_day
    from generate_series(
        cast({{ first_day }} as timestamp), cast({{ last_day }} as timestamp), interval '1 day'
    ) as days (date_day)
{%- endmacro %}
