{#- A timestamp of Spark is an instant. What a clock shows is one too, as if the clock's zone were UTC. -#}


{% macro spark__partition_boundary(day) -%}
    to_utc_timestamp(cast({{ day }} as timestamp) + interval '21:49' hour to minute, 'America/Los_Angeles')
{%- endmacro %}


{% macro spark__partition_of(instant) -%}
    cast(from_utc_timestamp({{ instant }}, 'America/Los_Angeles') - interval '21:49' hour to minute as date)
{%- endmacro %}


{% macro spark__local_date(instant, zone) -%}
    cast(from_utc_timestamp({{ instant }}, {{ zone }}) as date)
{%- endmacro %}


{#- Spark has no list of the zones that it knows. -#}
{% macro spark__known_zone(zone) -%}
    case
        when {{ zone }} in ('{{ modules.pytz.all_timezones | reject("in", zones_unknown_to_java()) | join("', '") }}') then {{ zone }}
        else {{ reporting_zone() }}
    end
{%- endmacro %}


{#- Names that Java 17 does not take, old ones and one that is too new for it. -#}
{% macro zones_unknown_to_java() %}
    {%- do return(['America/Coyhaique', 'ROC']) -%}
{% endmacro %}


{#- Where midnight comes twice, Spark takes the first; where clocks skip it, the instant at which they do. -#}
{% macro spark__end_of_day(day, zone) -%}
    to_utc_timestamp(cast(date_add({{ day }}, 1) as timestamp), {{ zone }}) - interval '0.000001' second
{%- endmacro %}


{% macro spark__epoch_microseconds(instant) -%}
    unix_micros({{ instant }})
{%- endmacro %}


{% macro spark__iso_day_of_week(day) -%}
    cast(weekday({{ day }}) + 1 as int)
{%- endmacro %}


{% macro spark__date_spine_between(first_day, last_day) -%}
    select explode(
        -- Of days that end before they begin Spark makes an error.
        case when bounds.first_day <= bounds.last_day then sequence(bounds.first_day, bounds.last_day, interval 1 day) end
    ) as date_day
    from (
        select
            cast({{ first_day }} as date) as first_day,
            cast({{ last_day }} as date) as last_day
    ) as bounds
{%- endmacro %}


{#- dbt's own for Spark loses what is less than a second. -#}
{% macro spark__dateadd(datepart, interval, from_date_or_timestamp) -%}
    timestampadd({{ datepart }}, {{ interval }}, {{ from_date_or_timestamp }})
{%- endmacro %}


{#- How many midnights, or full minutes, lie between: dbt's own for Spark rounds up what is less than a minute. -#}
{% macro spark__datediff(first_date, second_date, datepart) -%}
    {%- if datepart == 'day' -%}
    datediff({{ second_date }}, {{ first_date }})
    {%- elif datepart == 'minute' -%}
    (
        cast(floor(unix_seconds(cast({{ second_date }} as timestamp)) / 60) as bigint)
        - cast(floor(unix_seconds(cast({{ first_date }} as timestamp)) / 60) as bigint)
    )
    {%- else -%}
    {%- do exceptions.raise_compiler_error('a difference in ' ~ datepart ~ 's is not written for Spark') -%}
    {%- endif -%}
{%- endmacro %}
