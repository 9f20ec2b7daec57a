{#- The date of an instant in the reporting time zone. Every timestamp becomes a date through this macro. -#}
{% macro to_reporting_date(instant) -%}
    {{ local_date(instant, reporting_zone()) }}
{%- endmacro %}


{#- The date of an instant in UTC, for sources that count their days in UTC. -#}
{% macro to_utc_date(instant) -%}
    {{ local_date(instant, "'UTC'") }}
{%- endmacro %}


{#- The reporting time zone, as SQL. -#}
{% macro reporting_zone() -%}
    '{{ var("reporting_timezone") }}'
{%- endmacro %}


{#- The date of an instant in a time zone. -#}
{% macro local_date(instant, zone) -%}
    {{ adapter.dispatch('local_date', 'gtm_dbt')(instant, zone) }}
{%- endmacro %}


{#-
    Days from an instant to a date that a user entered. Users enter dates of their own time zone, so the instant becomes a
    date there too. zone: the time zone that the source names; where it is null or unknown, the reporting time zone.

    follows: true where the date cannot come before the instant. A user of yet another zone may have entered the date: a
    date that was current somewhere on Earth at the instant counts as 0 days.
-#}
{% macro days_to_written_date(instant, day, zone, follows=false) -%}
    {%- set days = 'cast(' ~ dbt.datediff(local_date(instant, known_zone(zone)), day, 'day') ~ ' as bigint)' -%}
    {%- if not follows -%}
    {{ days }}
    {%- else -%}
    case
        when {{ days }} < 0 and {{ day }} >= {{ to_utc_date(instant ~ " - interval '12 hours'") }} then 0
        else {{ days }}
    end
    {%- endif -%}
{%- endmacro %}


{#- A time zone by its name in the tz database, as SQL; the reporting time zone where the name is unknown. -#}
{% macro known_zone(zone) -%}
    {{ adapter.dispatch('known_zone', 'gtm_dbt')(zone) }}
{%- endmacro %}


{#- The last microsecond of a day in the reporting time zone. -#}
{% macro end_of_reporting_day(day) -%}
    {{ end_of_day(day, reporting_zone()) }}
{%- endmacro %}


{#-
    The last microsecond of a day in a time zone. A day ends when clocks show the next date for the first time, so that
    days have no gaps and no overlaps. Clocks that are put back over midnight show the former date again: for local_date
    that hour has the former date, although it lies after the end of that day.
-#}
{% macro end_of_day(day, zone) -%}
    {{ adapter.dispatch('end_of_day', 'gtm_dbt')(day, zone) }}
{%- endmacro %}


{#- Microseconds from 1970 to an instant. Keys use this number, because it is the same in every session. -#}
{% macro epoch_microseconds(instant) -%}
    {{ adapter.dispatch('epoch_microseconds', 'gtm_dbt')(instant) }}
{%- endmacro %}


{#- The key of a date in dim_date: the number yyyymmdd, or the key of the unknown member where it is null. -#}
{% macro date_key(day) -%}
    coalesce(
        cast(extract(year from {{ day }}) * 10000 + extract(month from {{ day }}) * 100 + extract(day from {{ day }}) as integer),
        {{ unknown_date_key() }}
    )
{%- endmacro %}


{#- ISO day of the week, Monday 1 to Sunday 7. -#}
{% macro iso_day_of_week(day) -%}
    {{ adapter.dispatch('iso_day_of_week', 'gtm_dbt')(day) }}
{%- endmacro %}


{#- An ISO week with its year, such as 2025-W01. -#}
{% macro iso_week(year, week) -%}
    cast({{ year }} as {{ engine_type('varchar') }}) || '-W' || lpad(cast({{ week }} as {{ engine_type('varchar') }}), 2, '0')
{%- endmacro %}


{#- A fiscal quarter with its year, such as FY2026-Q1. -#}
{% macro fiscal_quarter_name(fiscal_year, fiscal_quarter) -%}
    'FY' || cast({{ fiscal_year }} as {{ engine_type('varchar') }}) || '-Q' || cast({{ fiscal_quarter }} as {{ engine_type('varchar') }})
{%- endmacro %}


{#- Selects all days between two dates, both included, in the column date_day. -#}
{% macro date_spine(first_day, last_day) -%}
    {{ adapter.dispatch('date_spine_between', 'gtm_dbt')(first_day, last_day) }}
{%- endmacro %}


{#- The instant from which the unknown member is valid: it lies before all records. -#}
{% macro first_instant() -%}
    cast('1900-01-01 00:00:00+00' as {{ engine_type('timestamp with time zone') }})
{%- endmacro %}


{#- Stands for the end of what has no end: it lies after all records. -#}
{% macro last_instant() -%}
    cast('9999-12-31 00:00:00+00' as {{ engine_type('timestamp with time zone') }})
{%- endmacro %}


{#- English name of the month of a date. -#}
{% macro month_name(day) -%}
    case extract(month from {{ day }})
        {%- for name in ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September',
                         'October', 'November', 'December'] %}
        when {{ loop.index }} then '{{ name }}'
        {%- endfor %}
    end
{%- endmacro %}


{#- English name of an ISO day of the week. -#}
{% macro day_name(day_of_week) -%}
    case {{ day_of_week }}
        {%- for name in ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'] %}
        when {{ loop.index }} then '{{ name }}'
        {%- endfor %}
    end
{%- endmacro %}
