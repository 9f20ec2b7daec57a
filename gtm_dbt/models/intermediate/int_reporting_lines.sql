{#- How many levels above a user are looked for. -#}
{%- set levels = 8 -%}

with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
    where is_won
),

quotas as (
    select * from {{ ref('int_period_quotas') }}
),

periods as (
    select * from {{ ref('dim_forecasting_period') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

user_versions as (
    select
        *,
        row_number() over (partition by user_id order by valid_from) = 1 as is_first
    from {{ ref('dim_user_scd2') }}
),

-- Days on which a user won something, and the last days of the periods of a quota.
days as (
    select
        owner_user_key as user_key,
        close_date as line_date
    from opportunities
    where close_date is not null
    union
    select
        quotas.owner_user_key as user_key,
        least(periods.end_date, {{ to_reporting_date(as_of()) }}) as line_date
    from quotas
    inner join periods on quotas.period_key = periods.period_key
    where periods.end_date is not null
),

above_0 as (
    select
        days.user_key,
        days.line_date,
        {{ end_of_reporting_day('days.line_date') }} as line_at,
        users.user_id as above_user_id
    from days
    inner join users on days.user_key = users.user_key
),

-- Level by level the manager of then.
{% for level in range(1, levels + 1) %}
    above_{{ level }} as (
        select
            below.user_key,
            below.line_date,
            below.line_at,
            user_versions.manager_user_id as above_user_id
        from above_{{ level - 1 }} as below
        inner join user_versions
            on
                below.above_user_id = user_versions.user_id
                and {{ account_version_at('user_versions', 'below.line_at') }}
        where user_versions.manager_user_id <> below.above_user_id
    ),
{% endfor %}

all_above as (
    {% for level in range(1, levels + 1) %}
        select
            user_key,
            line_date,
            above_user_id,
            {{ level }} as levels_above
        from above_{{ level }}
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- A circle of managers meets each of them again, and the user.
managers as (
    select
        all_above.user_key,
        all_above.line_date,
        users.user_key as manager_user_key,
        min(all_above.levels_above) as levels_above
    from all_above
    inner join users on all_above.above_user_id = users.user_id
    where all_above.user_key <> users.user_key
    group by all_above.user_key, all_above.line_date, users.user_key
),

with_nobody as (
    select
        days.user_key,
        days.line_date,
        coalesce(managers.manager_user_key, {{ no_manager_key() }}) as manager_user_key,
        coalesce(managers.levels_above, 1) as levels_above
    from days
    left join managers on days.user_key = managers.user_key and days.line_date = managers.line_date
),

final as (
    select
        -- keys
        {{ surrogate_key(['user_key', 'line_date', 'manager_user_key']) }} as reporting_line_key,
        user_key,
        line_date,
        manager_user_key,
        -- what it is
        levels_above = 1 as is_direct
    from with_nobody
)

select * from final
