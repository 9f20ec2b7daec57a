{%- set numbers = [
    'won_count', 'won_amount', 'lost_count', 'lost_amount', 'win_rate_by_count', 'win_rate_by_amount',
    'average_won_amount', 'average_days_to_close', 'opportunities_created_count', 'opportunities_created_amount',
    'pipeline_count', 'pipeline_amount', 'weighted_pipeline_amount', 'quota_amount', 'quota_booked_amount',
    'quota_attainment', 'lead_count', 'converted_lead_count', 'lead_conversion_rate', 'tasks_completed_count',
    'call_count', 'email_count', 'meeting_count',
] -%}

{{ amounts_add_up() }}

with

opportunities as (
    select
        *,
        cast({{ dbt.date_trunc('month', 'created_date') }} as date) as created_month,
        cast({{ dbt.date_trunc('month', 'close_date') }} as date) as close_month
    from {{ ref('fct_opportunity') }}
),

snapshots as (
    select * from {{ ref('fct_pipeline_snapshot') }}
),

quota_progress as (
    select * from {{ ref('int_quota_progress') }}
),

teams as (
    select * from {{ ref('int_user_teams') }}
),

lead_conversion as (
    select * from {{ ref('rep_lead_conversion') }}
),

daily_activity as (
    select * from {{ ref('rep_daily_activity') }}
),

calendar as (
    select * from {{ ref('dim_date') }}
),

calendar_months as (
    select * from {{ ref('int_months') }}
),

-- The win rate by count is of the source systems that have amounts, as that by amount is.
systems_with_amounts as (
    select source_system
    from opportunities
    group by source_system
    having count(amount_converted) > 0
),

closed_by_month as (
    select
        opportunities.close_month as month_start_date,
        {{ opportunity_outcomes('opportunities') }},
        count(
            case when opportunities.opportunity_status = 'Won' then systems_with_amounts.source_system end
        ) as won_with_amounts_count,
        count(
            case when opportunities.opportunity_status = 'Lost' then systems_with_amounts.source_system end
        ) as lost_with_amounts_count
    from opportunities
    left join systems_with_amounts on opportunities.source_system = systems_with_amounts.source_system
    where opportunities.is_closed
    group by opportunities.close_month
),

created_by_month as (
    select
        created_month as month_start_date,
        count(*) as opportunities_created_count,
        sum(amount_converted) as opportunities_created_amount
    from opportunities
    group by created_month
),

leads_by_month as (
    select
        created_month as month_start_date,
        cast(sum(lead_count) as bigint) as lead_count,
        cast(sum(converted_lead_count) as bigint) as converted_lead_count
    from lead_conversion
    group by created_month
),

activity_by_month as (
    select
        calendar.month_start_date,
        cast(sum(daily_activity.tasks_completed_count) as bigint) as tasks_completed_count,
        cast(sum(daily_activity.call_count) as bigint) as call_count,
        cast(sum(daily_activity.email_count) as bigint) as email_count,
        cast(sum(daily_activity.meeting_count) as bigint) as meeting_count
    from daily_activity
    inner join calendar on daily_activity.date_key = calendar.date_key
    where daily_activity.date_day <= {{ to_reporting_date(as_of()) }}
    group by calendar.month_start_date
),

pipeline_by_day as (
    select
        date_day,
        cast(sum(opportunity_count) as bigint) as pipeline_count,
        sum(amount) as pipeline_amount,
        sum(weighted_amount) as weighted_pipeline_amount
    from snapshots
    group by date_day
),

first_snapshot as (
    select min(date_day) as first_day from snapshots
),

-- A manager's quota includes those of the team, so a quota counts only if no manager above its owner has one.
company_quotas as (
    select
        quota_progress.report_date,
        quota_progress.period_key,
        quota_progress.period_type,
        quota_progress.start_date,
        quota_progress.end_date,
        sum(quota_progress.quota_amount) as quota_amount
    from quota_progress
    where
        not exists (
            select 1
            from teams
            inner join quota_progress as above
                on teams.manager_user_key = above.owner_user_key
            where
                teams.member_user_key = quota_progress.owner_user_key
                and above.report_date = quota_progress.report_date
                and above.period_key = quota_progress.period_key
        )
    group by
        quota_progress.report_date,
        quota_progress.period_key,
        quota_progress.period_type,
        quota_progress.start_date,
        quota_progress.end_date
),

ranked_quotas as (
    select
        company_quotas.*,
        row_number() over (
            partition by company_quotas.report_date
            order by {{ quota_period_order('company_quotas') }}
        ) as rank_on_day
    from company_quotas
),

quota_by_day as (
    select
        ranked_quotas.report_date,
        ranked_quotas.quota_amount,
        {{ total('sum(opportunities.amount_converted)') }} as quota_booked_amount
    from ranked_quotas
    left join opportunities
        on {{ is_booked_between('opportunities', 'ranked_quotas.start_date', 'ranked_quotas.report_date') }}
    where ranked_quotas.rank_on_day = 1
    group by ranked_quotas.report_date, ranked_quotas.quota_amount
),

first_month as (
    select min(happened.month_start_date) as month_start_date
    from (
        select month_start_date from closed_by_month
        union all
        select month_start_date from created_by_month
        union all
        select month_start_date from leads_by_month
        union all
        select month_start_date from activity_by_month
    ) as happened
),

measured as (
    select
        months.month_start_date,
        months.fiscal_year,
        months.fiscal_quarter,
        months.fiscal_quarter_name,
        months.is_month_over,
        months.is_latest,
        months.last_day,
        -- opportunities
        coalesce(closed.won_count, 0) as won_count,
        {{ money('closed.won_amount') }} as won_amount,
        coalesce(closed.lost_count, 0) as lost_count,
        {{ money('closed.lost_amount') }} as lost_amount,
        {{ win_rate('closed.won_with_amounts_count', 'closed.lost_with_amounts_count') }} as win_rate_by_count,
        {{ win_rate('closed.won_amount', 'closed.lost_amount') }} as win_rate_by_amount,
        closed.average_won_amount,
        cast(closed.average_days_to_close as {{ engine_type('double') }}) as average_days_to_close,
        coalesce(created.opportunities_created_count, 0) as opportunities_created_count,
        {{ money('created.opportunities_created_amount') }} as opportunities_created_amount,
        -- pipeline, from the first day on that has a snapshot
        case when months.last_day >= first_snapshot.first_day then coalesce(pipeline.pipeline_count, 0) end
            as pipeline_count,
        case when months.last_day >= first_snapshot.first_day then {{ money('pipeline.pipeline_amount') }} end
            as pipeline_amount,
        case
            when months.last_day >= first_snapshot.first_day
                then {{ money('pipeline.weighted_pipeline_amount') }}
        end as weighted_pipeline_amount,
        -- quota
        {{ cents('quotas.quota_amount') }} as quota_amount,
        {{ cents('quotas.quota_booked_amount') }} as quota_booked_amount,
        {{ safe_divide('quotas.quota_booked_amount', 'quotas.quota_amount') }} as quota_attainment,
        -- leads
        coalesce(leads.lead_count, 0) as lead_count,
        coalesce(leads.converted_lead_count, 0) as converted_lead_count,
        {{ safe_divide('leads.converted_lead_count', 'leads.lead_count') }} as lead_conversion_rate,
        -- activity
        coalesce(activity.tasks_completed_count, 0) as tasks_completed_count,
        coalesce(activity.call_count, 0) as call_count,
        coalesce(activity.email_count, 0) as email_count,
        coalesce(activity.meeting_count, 0) as meeting_count
    from calendar_months as months
    inner join first_month on months.month_start_date >= first_month.month_start_date
    cross join first_snapshot
    left join closed_by_month as closed on months.month_start_date = closed.month_start_date
    left join created_by_month as created on months.month_start_date = created.month_start_date
    left join leads_by_month as leads on months.month_start_date = leads.month_start_date
    left join activity_by_month as activity on months.month_start_date = activity.month_start_date
    left join pipeline_by_day as pipeline on months.last_day = pipeline.date_day
    left join quota_by_day as quotas on months.last_day = quotas.report_date
),

final as (
    select
        measured.month_start_date,
        measured.fiscal_year,
        measured.fiscal_quarter,
        measured.fiscal_quarter_name,
        measured.is_month_over,
        measured.is_latest,
        measured.last_day,
        {% for number in numbers %}
            measured.{{ number }},
            month_before.{{ number }} as {{ number }}_month_before,
            year_before.{{ number }} as {{ number }}_year_before,
        {% endfor %}
        -- provenance
        'all' as source_system
    from measured
    left join measured as month_before
        on
            month_before.month_start_date
            = cast({{ dbt.dateadd('month', -1, 'measured.month_start_date') }} as date)
    left join measured as year_before
        on
            year_before.month_start_date
            = cast({{ dbt.dateadd('month', -12, 'measured.month_start_date') }} as date)
)

select * from final
