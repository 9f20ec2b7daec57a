{% macro duckdb__partition_boundary(day) -%}
    timezone('America/Los_Angeles', cast({{ day }} as timestamp) + interval '21 hours 49 minutes')
{%- endmacro %}


{% macro duckdb__partition_of(instant) -%}
    cast(timezone('America/Los_Angeles', {{ instant }}) - interval '21 hours 49 minutes' as date)
{%- endmacro %}


{% macro duckdb__local_date(instant, zone) -%}
    cast(timezone({{ zone }}, {{ instant }}) as date)
{%- endmacro %}


{% macro duckdb__known_zone(zone) -%}
    case
        when {{ zone }} in (select zones.name from pg_timezone_names() as zones) then {{ zone }}
        else {{ reporting_zone() }}
    end
{%- endmacro %}


{#-
    Where midnight comes twice, DuckDB takes the second. To find the first, go forward from six hours before, by the time
    that clocks then need to reach midnight. No zone puts its clocks back by more than three hours.
-#}
{% macro duckdb__end_of_day(day, zone) -%}
    {%- set midnight = 'cast(' ~ day ~ ' + 1 as timestamp)' -%}
    {%- set last = 'timezone(' ~ zone ~ ', ' ~ midnight ~ ')' -%}
    {%- set before = '(' ~ last ~ ' - interval 6 hours)' -%}
    {%- set first = '(' ~ before ~ ' + (' ~ midnight ~ ' - timezone(' ~ zone ~ ', ' ~ before ~ ')))' -%}
    case when timezone({{ zone }}, {{ first }}) = {{ midnight }} then {{ first }} else {{ last }} end
    - interval 1 microsecond
{%- endmacro %}


{% macro duckdb__epoch_microseconds(instant) -%}
    epoch_us({{ instant }})
{%- endmacro %}


{% macro duckdb__iso_day_of_week(day) -%}
    cast(isodow({{ day }}) as integer)
{%- endmacro %}


{% macro duckdb__date_spine_between(first_day, last_day) -%}
    select cast(days.date_day as date) as date_day
    from (select unnest(generate_series({{ first_day }}, {{ last_day }}, interval 1 day)) as date_day) as days
{%- endmacro %}
