{%- set counts = [
    'tasks_due_count', 'tasks_completed_count', 'call_count', 'email_count', 'meeting_count', 'leads_created_count',
    'opportunities_created_count', 'won_count', 'lost_count',
] -%}

with

tasks as (
    select * from {{ ref('fct_task') }}
),

activities as (
    select * from {{ ref('fct_activity') }}
),

leads as (
    select * from {{ ref('dim_lead') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

days as (
    select * from {{ ref('dim_date') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

-- One row per countable event, with the day on which it counts.
happenings as (
    select
        owner_user_key,
        activity_date as date_day,
        'tasks_due_count' as counted
    from tasks
    union all
    select
        owner_user_key,
        completed_date as date_day,
        'tasks_completed_count' as counted
    from tasks
    union all
    select
        owner_user_key,
        activity_date as date_day,
        case activity_type
            when 'Call' then 'call_count'
            when 'Email' then 'email_count'
            else 'meeting_count'
        end as counted
    from activities
    where
        is_counted
        and activity_type in ('Call', 'Email', 'Meeting')
    union all
    select
        owner_user_key,
        created_date as date_day,
        'leads_created_count' as counted
    from leads
    where lead_key <> {{ unknown_key() }}
    union all
    select
        owner_user_key,
        created_date as date_day,
        'opportunities_created_count' as counted
    from opportunities
    union all
    select
        owner_user_key,
        close_date as date_day,
        case when is_won then 'won_count' else 'lost_count' end as counted
    from opportunities
    where is_closed
),

counted_by_day as (
    select
        owner_user_key,
        {% for count in counts %}
            count(case when counted = '{{ count }}' then 1 end) as {{ count }},
        {% endfor %}
        date_day
    from happenings
    where date_day is not null
    group by owner_user_key, date_day
),

spans as (
    select
        owner_user_key,
        min(date_day) as first_day,
        max(date_day) as last_day
    from counted_by_day
    group by owner_user_key
),

-- Every day from the first to the last one of an owner, with or without events.
spine as (
    select
        spans.owner_user_key,
        days.date_key,
        days.date_day
    from spans
    inner join days on days.date_day between spans.first_day and spans.last_day
),

final as (
    select
        -- keys
        {{ surrogate_key(['spine.owner_user_key', 'spine.date_key']) }} as daily_activity_key,
        spine.date_key,
        spine.date_day,
        spine.owner_user_key,
        owners.user_id as owner_user_id,
        -- who it is
        owners.user_name as owner_name,
        owners.manager_name,
        -- measures
        {% for count in counts %}
            coalesce(counted_by_day.{{ count }}, 0) as {{ count }},
        {% endfor %}
        -- provenance
        owners.source_system
    from spine
    left join counted_by_day
        on spine.owner_user_key = counted_by_day.owner_user_key and spine.date_day = counted_by_day.date_day
    left join owners on spine.owner_user_key = owners.user_key
)

select * from final
