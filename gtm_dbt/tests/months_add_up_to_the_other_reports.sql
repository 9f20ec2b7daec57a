-- Months add up to what the other reports say: owners, leads and days. The last month's end is the pipeline of
-- now, and where a quota's period ends all owners together have booked what the company has. Quotas that are
-- quantities count for nothing there.
{{ config(meta={'dagster': {'ref': {'name': 'rep_executive_summary'}}}) }}

{%- set of_months = [
    'won_count', 'won_amount', 'lost_count', 'lost_amount', 'opportunities_created_count',
    'opportunities_created_amount', 'lead_count', 'converted_lead_count', 'tasks_completed_count', 'call_count',
    'email_count', 'meeting_count',
] %}

with

months as (
    select * from {{ ref('rep_executive_summary') }}
),

summed as (
    select
        {% for number in of_months %}
            coalesce(sum({{ number }}), 0) as {{ number }},
        {% endfor %}
        max(last_day) as last_day
    from months
),

last_month as (
    select
        months.pipeline_count,
        months.pipeline_amount,
        months.weighted_pipeline_amount
    from months
    inner join summed on months.last_day = summed.last_day
),

owners as (
    select
        sum(won_count) as won_count,
        sum(won_amount) as won_amount,
        sum(lost_count) as lost_count,
        sum(lost_amount) as lost_amount,
        sum(opportunity_count) as opportunity_count,
        sum(pipeline_count) as pipeline_count,
        sum(pipeline_amount) as pipeline_amount,
        sum(weighted_pipeline_amount) as weighted_pipeline_amount
    from {{ ref('rep_owner_performance') }}
),

-- Closed deals that say that they close after the month of as_of, or do not say when, are in no month.
in_no_month as (
    select
        count(case when deals.opportunity_status = 'Won' then 1 end) as won_count,
        sum(case when deals.opportunity_status = 'Won' then deals.amount_converted end) as won_amount,
        count(case when deals.opportunity_status = 'Lost' then 1 end) as lost_count,
        sum(case when deals.opportunity_status = 'Lost' then deals.amount_converted end) as lost_amount
    from {{ ref('fct_opportunity') }} as deals
    cross join summed
    where
        deals.close_date is null
        or deals.close_date > cast({{ dbt.last_day('summed.last_day', 'month') }} as date)
),

deals as (
    select sum(amount_converted) as amount from {{ ref('fct_opportunity') }}
),

leads as (
    select
        sum(lead_count) as lead_count,
        sum(converted_lead_count) as converted_lead_count
    from {{ ref('rep_lead_conversion') }}
),

days as (
    select
        sum(activity.tasks_completed_count) as tasks_completed_count,
        sum(activity.call_count) as call_count,
        sum(activity.email_count) as email_count,
        sum(activity.meeting_count) as meeting_count
    from {{ ref('rep_daily_activity') }} as activity
    inner join summed on activity.date_day <= summed.last_day
),

-- The quota of each owner that counts at a month's end.
quotas_in_force as (
    select
        months.last_day,
        quotas.owner_user_key,
        quotas.period_key,
        periods.end_date,
        row_number() over (
            partition by months.last_day, quotas.owner_user_key
            order by {{ quota_period_order('periods') }}
        ) as rank_on_day
    from months
    inner join {{ ref('dim_forecasting_period') }} as periods
        on months.last_day between periods.start_date and periods.end_date
    inner join {{ ref('int_period_quotas') }} as quotas on periods.period_key = quotas.period_key
    where quotas.quota_amount is not null
),

-- Where one of them goes on, the report of its period says more than was booked by then.
bookings as (
    select
        quotas_in_force.last_day,
        sum(attainment.bookings_amount) as bookings_amount
    from quotas_in_force
    inner join {{ ref('rep_quota_attainment') }} as attainment
        on
            quotas_in_force.owner_user_key = attainment.owner_user_key
            and quotas_in_force.period_key = attainment.period_key
    where quotas_in_force.rank_on_day = 1
    group by quotas_in_force.last_day
    having max(quotas_in_force.end_date) = quotas_in_force.last_day
),

compared as (
    {% for number in ['won_count', 'won_amount', 'lost_count', 'lost_amount'] %}
        select
            '{{ number }}' as number_name,
            summed.{{ number }} + coalesce(in_no_month.{{ number }}, 0) as of_months,
            coalesce(owners.{{ number }}, 0) as of_report
        from summed
        cross join in_no_month
        cross join owners
        union all
    {% endfor %}
    {% for number in ['lead_count', 'converted_lead_count'] %}
        select
            '{{ number }}' as number_name,
            summed.{{ number }} as of_months,
            coalesce(leads.{{ number }}, 0) as of_report
        from summed
        cross join leads
        union all
    {% endfor %}
    {% for number in ['tasks_completed_count', 'call_count', 'email_count', 'meeting_count'] %}
        select
            '{{ number }}' as number_name,
            summed.{{ number }} as of_months,
            coalesce(days.{{ number }}, 0) as of_report
        from summed
        cross join days
        union all
    {% endfor %}
    {% for number in ['pipeline_count', 'pipeline_amount', 'weighted_pipeline_amount'] %}
        select
            '{{ number }}' as number_name,
            coalesce(last_month.{{ number }}, 0) as of_months,
            coalesce(owners.{{ number }}, 0) as of_report
        from last_month
        cross join owners
        union all
    {% endfor %}
    select
        'opportunities_created_count' as number_name,
        summed.opportunities_created_count as of_months,
        coalesce(owners.opportunity_count, 0) as of_report
    from summed
    cross join owners
    union all
    select
        'opportunities_created_amount' as number_name,
        summed.opportunities_created_amount as of_months,
        coalesce(deals.amount, 0) as of_report
    from summed
    cross join deals
    union all
    select
        'quota_booked_amount' as number_name,
        months.quota_booked_amount as of_months,
        bookings.bookings_amount as of_report
    from bookings
    inner join months on bookings.last_day = months.last_day
)

select
    number_name,
    of_months,
    of_report
from compared
where of_months is distinct from of_report
