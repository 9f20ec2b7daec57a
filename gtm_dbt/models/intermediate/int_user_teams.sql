{#- Each step doubles how many levels down a team reaches: 2, 4, 8, 16, 32. -#}
{%- set steps = 5 -%}

with

users as (
    select
        user_key,
        user_id,
        manager_user_id
    from {{ ref('dim_user') }}
),

managed as (
    select
        users.user_key as member_user_key,
        managers.user_key as manager_user_key
    from users
    left join users as managers on users.manager_user_id = managers.user_id
),

teams_0 as (
    select
        manager_user_key,
        member_user_key
    from managed
    where manager_user_key is not null
),

{% for step in range(steps) %}
    -- `union` removes duplicates: two paths to one member make one row, and a circle ends.
    teams_{{ step + 1 }} as (
        select
            manager_user_key,
            member_user_key
        from teams_{{ step }}
        union
        select
            upper_half.manager_user_key,
            lower_half.member_user_key
        from teams_{{ step }} as upper_half
        inner join teams_{{ step }} as lower_half on upper_half.member_user_key = lower_half.manager_user_key
    ),
{% endfor %}

with_direct as (
    select
        teams.manager_user_key,
        teams.member_user_key,
        managed.member_user_key is not null as is_direct
    from teams_{{ steps }} as teams
    left join managed
        on
            teams.manager_user_key = managed.manager_user_key
            and teams.member_user_key = managed.member_user_key
    -- In a circle, users are members of their own teams.
    where teams.manager_user_key <> teams.member_user_key
    union all
    select
        {{ no_manager_key() }} as manager_user_key,
        member_user_key,
        true as is_direct
    from managed
    where manager_user_key is null or manager_user_key = member_user_key
),

final as (
    select
        -- keys
        {{ surrogate_key(['manager_user_key', 'member_user_key']) }} as team_member_key,
        manager_user_key,
        member_user_key,
        -- what it is
        is_direct
    from with_direct
)

select * from final
