{#- The day on which an instant lies where the reports are read. The way from a timestamp to a date. -#}
{% macro to_reporting_date(instant) -%}
    {{ local_date(instant, reporting_zone()) }}
{%- endmacro %}


{#- The day on which an instant lies in UTC: for what is counted as its source writes it. -#}
{% macro to_utc_date(instant) -%}
    {{ local_date(instant, "'UTC'") }}
{%- endmacro %}


{#- The zone of the reports, as SQL. -#}
{% macro reporting_zone() -%}
    '{{ var("reporting_timezone") }}'
{%- endmacro %}


{#- The date that clocks of a zone show at an instant. -#}
{% macro local_date(instant, zone) -%}
    {{ adapter.dispatch('local_date', 'gtm_dbt')(instant, zone) }}
{%- endmacro %}

{% macro default__local_date(instant, zone) %}
    {{ not_supported('local_date') }}
{% endmacro %}

{% macro duckdb__local_date(instant, zone) -%}
    cast(timezone({{ zone }}, {{ instant }}) as date)
{%- endmacro %}


{#-
    Days from an instant to a date that a user wrote: a date of that user's zone, so the instant is taken there too.
    zone: the zone that the source names, null or one that is none for the reports'.

    follows: true for what can't come before the instant. A user of yet another zone may have written the date: one
    that clocks somewhere showed at the instant is no day before it.
-#}
{% macro days_to_written_date(instant, day, zone, follows=false) -%}
    {%- set days = dbt.datediff(local_date(instant, known_zone(zone)), day, 'day') -%}
    {%- if not follows -%}
    {{ days }}
    {%- else -%}
    case
        when {{ days }} < 0 and {{ day }} >= {{ to_utc_date(instant ~ " - interval '12 hours'") }} then 0
        else {{ days }}
    end
    {%- endif -%}
{%- endmacro %}


{#- A zone by its name in the tz database, as SQL; where there is none of that name, that of the reports. -#}
{% macro known_zone(zone) -%}
    {{ adapter.dispatch('known_zone', 'gtm_dbt')(zone) }}
{%- endmacro %}

{% macro default__known_zone(zone) %}
    {{ not_supported('known_zone') }}
{% endmacro %}

{% macro duckdb__known_zone(zone) -%}
    case
        when {{ zone }} in (select zones.name from pg_timezone_names() as zones) then {{ zone }}
        else {{ reporting_zone() }}
    end
{%- endmacro %}


{#- The last microsecond of a day where the reports are read. -#}
{% macro end_of_reporting_day(day) -%}
    {{ end_of_day(day, reporting_zone()) }}
{%- endmacro %}


{#-
    The last microsecond of a day in a zone. A day ends when clocks show the next date for the first time: where they
    are put back over midnight they show it twice. So days follow on each other without gap and overlap. What happens
    when clocks show the former date once more is of that date for local_date, and after the end of its day.
-#}
{% macro end_of_day(day, zone) -%}
    {{ adapter.dispatch('end_of_day', 'gtm_dbt')(day, zone) }}
{%- endmacro %}

{% macro default__end_of_day(day, zone) %}
    {{ not_supported('end_of_day') }}
{% endmacro %}

{#-
    Of a midnight that comes twice DuckDB takes the second. The first is where clocks that nobody puts back get to,
    seen from some hours before, if they show midnight then: no zone puts them back by more than three hours.
-#}
{% macro duckdb__end_of_day(day, zone) -%}
    {%- set midnight = 'cast(' ~ day ~ ' + 1 as timestamp)' -%}
    {%- set last = 'timezone(' ~ zone ~ ', ' ~ midnight ~ ')' -%}
    {%- set before = '(' ~ last ~ ' - interval 6 hours)' -%}
    {%- set first = '(' ~ before ~ ' + (' ~ midnight ~ ' - timezone(' ~ zone ~ ', ' ~ before ~ ')))' -%}
    case when timezone({{ zone }}, {{ first }}) = {{ midnight }} then {{ first }} else {{ last }} end
    - interval 1 microsecond
{%- endmacro %}


{#- Microseconds since 1970 of an instant: its text in keys, the same in every session. -#}
{% macro epoch_microseconds(instant) -%}
    {{ adapter.dispatch('epoch_microseconds', 'gtm_dbt')(instant) }}
{%- endmacro %}

{% macro default__epoch_microseconds(instant) %}
    {{ not_supported('epoch_microseconds') }}
{% endmacro %}

{% macro duckdb__epoch_microseconds(instant) -%}
    epoch_us({{ instant }})
{%- endmacro %}


{#- A date's key in dim_date: the number yyyymmdd, the unknown member's where there is no date. -#}
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

{% macro default__iso_day_of_week(day) %}
    {{ not_supported('iso_day_of_week') }}
{% endmacro %}

{% macro duckdb__iso_day_of_week(day) -%}
    cast(isodow({{ day }}) as integer)
{%- endmacro %}


{#- An ISO week with its year, such as 2025-W01. -#}
{% macro iso_week(year, week) -%}
    cast({{ year }} as varchar) || '-W' || lpad(cast({{ week }} as varchar), 2, '0')
{%- endmacro %}


{#- Select of one column, date_day: all days between the two dates, both included. -#}
{% macro date_spine(first_day, last_day) -%}
    {{ adapter.dispatch('date_spine_between', 'gtm_dbt')(first_day, last_day) }}
{%- endmacro %}

{% macro default__date_spine_between(first_day, last_day) %}
    {{ not_supported('date_spine') }}
{% endmacro %}

{% macro duckdb__date_spine_between(first_day, last_day) -%}
    select cast(days.date_day as date) as date_day
    from (select unnest(generate_series({{ first_day }}, {{ last_day }}, interval 1 day)) as date_day) as days
{%- endmacro %}


{#- From when on the unknown member is valid: before all records. -#}
{% macro first_instant() -%}
    cast('1900-01-01 00:00:00+00' as timestamp with time zone)
{%- endmacro %}


{#- What has no end ends then: after all records. -#}
{% macro last_instant() -%}
    cast('9999-12-31 00:00:00+00' as timestamp with time zone)
{%- endmacro %}


{#- English name of a date's month. -#}
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
