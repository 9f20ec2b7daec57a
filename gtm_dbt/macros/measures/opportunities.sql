{#- Columns of a grouped select: the outcomes of opportunities. opportunities: the alias of fct_opportunity. -#}
{% macro opportunity_outcomes(opportunities) -%}
    count(case when {{ opportunities }}.opportunity_status = 'Won' then 1 end) as won_count,
    count(case when {{ opportunities }}.opportunity_status = 'Lost' then 1 end) as lost_count,
    sum(case when {{ opportunities }}.opportunity_status = 'Won' then {{ opportunities }}.amount_converted end) as won_amount,
    sum(case when {{ opportunities }}.opportunity_status = 'Lost' then {{ opportunities }}.amount_converted end) as lost_amount,
    {{ average_won_amount(opportunities) }} as average_won_amount,
    avg(case when {{ opportunities }}.is_closed then {{ opportunities }}.days_to_close end) as average_days_to_close
{%- endmacro %}


{#- Mean amount of the won opportunities that have one, so that a source without amounts does not lower it. -#}
{% macro average_won_amount(opportunities) -%}
    {%- set won_amount = "case when " ~ opportunities ~ ".opportunity_status = 'Won' then " ~ opportunities ~ ".amount_converted end" -%}
    {{ average_amount('sum(' ~ won_amount ~ ')', 'count(' ~ won_amount ~ ')') }}
{%- endmacro %}


{#- Condition: the opportunity is won and its close date lies between the two days, both included. -#}
{% macro is_booked_between(opportunities, first_day, last_day) -%}
    {{ opportunities }}.is_won and {{ opportunities }}.close_date between {{ first_day }} and {{ last_day }}
{%- endmacro %}


{#- Where periods overlap, the quota of the quarter counts first, then that of the latest period. -#}
{% macro quota_period_order(periods) -%}
    case when {{ periods }}.period_type = 'Quarter' then 0 else 1 end asc,
    {{ periods }}.start_date desc,
    {{ periods }}.end_date asc,
    {{ periods }}.period_key asc
{%- endmacro %}
