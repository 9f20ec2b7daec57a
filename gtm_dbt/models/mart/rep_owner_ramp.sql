{%- set activities = ['tasks_completed_count', 'call_count', 'email_count', 'meeting_count'] -%}

{{ amounts_add_up() }}

with

users as (
    select * from {{ ref('dim_user') }}
),

start_dates as (
    select * from {{ ref('user_start_dates') }}
),

opportunities as (
    select
        *,
        cast({{ dbt.date_trunc('month', 'created_date') }} as date) as created_month,
        cast({{ dbt.date_trunc('month', 'close_date') }} as date) as close_month
    from {{ ref('fct_opportunity') }}
),

daily_activity as (
    select
        *,
        cast({{ dbt.date_trunc('month', 'date_day') }} as date) as activity_month
    from {{ ref('rep_daily_activity') }}
    where date_day <= {{ to_reporting_date(as_of()) }}
),

months as (
    select * from {{ ref('int_months') }}
),

owners as (
    select
        users.user_key,
        users.user_id,
        users.user_name,
        users.manager_name,
        users.division,
        users.is_active,
        users.source_system,
        coalesce(start_dates.start_date, {{ to_reporting_date('users.created_at') }}) as start_date
    from users
    left join start_dates on users.user_id = start_dates.user_id
    where
        users.user_key in (select opportunities.owner_user_key from opportunities)
        and users.user_key <> {{ unknown_key() }}
),

-- The first month is the one of the start, the part of it before the start included.
spine as (
    select
        owners.*,
        months.month_start_date,
        months.last_day,
        months.is_month_over,
        months.is_latest,
        row_number() over (partition by owners.user_key order by months.month_start_date) - 1 as months_since_start
    from owners
    inner join months on owners.start_date <= months.month_end_date
),

won_by_month as (
    select
        owner_user_key,
        close_month,
        count(*) as won_count,
        sum(amount_converted) as won_amount
    from opportunities
    where is_won
    group by owner_user_key, close_month
),

created_by_month as (
    select
        owner_user_key,
        created_month,
        count(*) as created_count,
        sum(amount_converted) as created_amount
    from opportunities
    group by owner_user_key, created_month
),

activity_by_month as (
    select
        owner_user_key,
        {% for count in activities %}
            cast(sum({{ count }}) as bigint) as {{ count }},
        {% endfor %}
        activity_month
    from daily_activity
    group by owner_user_key, activity_month
),

measured as (
    select
        spine.*,
        {% for count in activities %}
            coalesce(activity.{{ count }}, 0) as {{ count }},
        {% endfor %}
        coalesce(won.won_count, 0) as won_count,
        {{ total('won.won_amount') }} as won_amount,
        coalesce(created.created_count, 0) as opportunities_created_count,
        {{ total('created.created_amount') }} as opportunities_created_amount
    from spine
    left join won_by_month as won
        on spine.user_key = won.owner_user_key and spine.month_start_date = won.close_month
    left join created_by_month as created
        on spine.user_key = created.owner_user_key and spine.month_start_date = created.created_month
    left join activity_by_month as activity
        on spine.user_key = activity.owner_user_key and spine.month_start_date = activity.activity_month
),

final as (
    select
        -- keys
        {{ surrogate_key(['user_key', 'months_since_start']) }} as owner_ramp_key,
        user_key as owner_user_key,
        user_id as owner_user_id,
        cast(months_since_start as integer) as months_since_start,
        -- who it is
        user_name as owner_name,
        manager_name,
        division,
        is_active,
        is_month_over,
        is_latest,
        -- bookings and pipeline
        won_count,
        {{ money('won_amount') }} as won_amount,
        {{
            money(
                'sum(won_amount) over (partition by user_key order by month_start_date'
                ~ ' rows between unbounded preceding and current row)'
            )
        }} as won_amount_since_start,
        opportunities_created_count,
        {{ money('opportunities_created_amount') }} as opportunities_created_amount,
        -- activity
        {% for count in activities %}
            {{ count }},
        {% endfor %}
        -- dates
        start_date,
        month_start_date,
        last_day,
        -- provenance
        source_system
    from measured
)

select * from final
