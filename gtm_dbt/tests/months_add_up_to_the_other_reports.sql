-- The months add up to the reports of owners, leads and days. The end of the last month shows the pipeline as it
-- is now, and at the end of a quota's period all owners together have booked what the company has. Quotas of
-- quantities are left out there. Amounts are compared with core, each rounded once, as the months are.
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
        sum(lost_count) as lost_count,
        sum(opportunity_count) as opportunity_count,
        sum(pipeline_count) as pipeline_count
    from {{ ref('rep_owner_performance') }}
),

-- Opportunities that are closed, but with a close date after the month of as_of or with none, are in no month.
in_no_month as (
    select
        count(case when opportunities.opportunity_status = 'Won' then 1 end) as won_count,
        count(case when opportunities.opportunity_status = 'Lost' then 1 end) as lost_count
    from {{ ref('fct_opportunity') }} as opportunities
    cross join summed
    where
        opportunities.close_date is null
        or opportunities.close_date > cast({{ dbt.last_day('summed.last_day', 'month') }} as date)
),

closed_by_month as (
    select
        {{ money("sum(case when facts.opportunity_status = 'Won' then facts.amount_converted end)") }}
            as won_amount,
        {{ money("sum(case when facts.opportunity_status = 'Lost' then facts.amount_converted end)") }}
            as lost_amount
    from {{ ref('fct_opportunity') }} as facts
    inner join summed on facts.close_date <= cast({{ dbt.last_day('summed.last_day', 'month') }} as date)
    group by {{ dbt.date_trunc('month', 'facts.close_date') }}
),

closed as (
    select
        sum(won_amount) as won_amount,
        sum(lost_amount) as lost_amount
    from closed_by_month
),

created_by_month as (
    select {{ money('sum(amount_converted)') }} as amount
    from {{ ref('fct_opportunity') }}
    group by {{ dbt.date_trunc('month', 'created_date') }}
),

opportunities as (
    select sum(amount) as amount from created_by_month
),

pipeline as (
    select
        {{ money('sum(amount_converted)') }} as pipeline_amount,
        {{ money('sum(weighted_amount_converted)') }} as weighted_pipeline_amount
    from {{ ref('fct_opportunity') }}
    where is_open_pipeline
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

-- Where a quarter has no quota in money, the quota of another period counts, if there is one.
periods_with_amounts as (
    select period_key
    from {{ ref('int_period_quotas') }}
    where quota_amount is not null
    group by period_key
),

bookings as (
    select
        periods.end_date as period_end_date,
        {{ money('sum(bookings.bookings_amount)') }} as bookings_amount
    from {{ ref('dim_forecasting_period') }} as periods
    inner join periods_with_amounts on periods.period_key = periods_with_amounts.period_key
    left join {{ ref('int_period_bookings') }} as bookings on periods.period_key = bookings.period_key
    where periods.period_type = 'Quarter' and periods.end_date < {{ to_reporting_date(as_of()) }}
    group by periods.end_date
),

compared as (
    {% for number in ['won_count', 'lost_count'] %}
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
    {% for number in ['won_amount', 'lost_amount'] %}
        select
            '{{ number }}' as number_name,
            summed.{{ number }} as of_months,
            coalesce(closed.{{ number }}, 0) as of_report
        from summed
        cross join closed
        union all
    {% endfor %}
    {% for number in ['pipeline_amount', 'weighted_pipeline_amount'] %}
        select
            '{{ number }}' as number_name,
            coalesce(last_month.{{ number }}, 0) as of_months,
            coalesce(pipeline.{{ number }}, 0) as of_report
        from last_month
        cross join pipeline
        union all
    {% endfor %}
    select
        'pipeline_count' as number_name,
        coalesce(last_month.pipeline_count, 0) as of_months,
        coalesce(owners.pipeline_count, 0) as of_report
    from last_month
    cross join owners
    union all
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
        coalesce(opportunities.amount, 0) as of_report
    from summed
    cross join opportunities
    union all
    select
        'quota_booked_amount' as number_name,
        months.quota_booked_amount as of_months,
        bookings.bookings_amount as of_report
    from bookings
    inner join months on bookings.period_end_date = months.last_day
)

select
    number_name,
    of_months,
    of_report
from compared
where of_months is distinct from of_report
