{%- set counts = [
    'opportunity_count', 'won_count', 'lost_count', 'open_count', 'pipeline_count', 'won_count_month_to_date',
    'won_count_quarter_to_date', 'task_count', 'completed_task_count', 'completed_task_count_month_to_date',
    'completed_task_count_quarter_to_date',
] -%}
{%- set amounts = [
    'won_amount', 'lost_amount', 'pipeline_amount', 'weighted_pipeline_amount', 'won_amount_month_to_date',
    'won_amount_quarter_to_date',
] -%}

with

teams as (
    select * from {{ ref('int_user_teams') }}
),

-- int_owner_performance defines the numbers of a member; here they are added.
owner_performance as (
    select * from {{ ref('int_owner_performance') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

-- The numbers of unknown owners count in the row of those without a manager; the unknown member is not a person.
numbers_by_manager as (
    select
        teams.manager_user_key,
        count(case when teams.is_direct and teams.member_user_key <> {{ unknown_key() }} then 1 end)
            as direct_report_count,
        {% for count in counts %}
            cast(coalesce(sum(owner_performance.{{ count }}), 0) as bigint) as {{ count }},
        {% endfor %}
        {% for amount in amounts %}
            sum(owner_performance.{{ amount }}) as {{ amount }},
        {% endfor %}
        count(case when teams.member_user_key <> {{ unknown_key() }} then 1 end) as member_count
    from teams
    left join owner_performance on teams.member_user_key = owner_performance.owner_user_key
    group by teams.manager_user_key
),

-- The mean is taken over the team's opportunities, not over the means of its members.
cycles_by_manager as (
    select
        teams.manager_user_key,
        {{ average_won_amount('opportunities') }} as average_won_amount,
        avg(opportunities.days_to_close) as average_days_to_close
    from teams
    inner join opportunities on teams.member_user_key = opportunities.owner_user_key
    where opportunities.is_closed
    group by teams.manager_user_key
),

final as (
    select
        -- keys
        numbers.manager_user_key,
        users.user_id as manager_user_id,
        -- who it is
        case when users.user_key is null then 'No manager' else users.user_name end as manager_name,
        users.manager_name as manager_of_manager_name,
        users.division,
        users.is_active,
        numbers.direct_report_count,
        numbers.member_count,
        -- opportunities
        numbers.opportunity_count,
        numbers.won_count,
        numbers.lost_count,
        numbers.open_count,
        numbers.pipeline_count,
        {{ money('numbers.won_amount') }} as won_amount,
        {{ money('numbers.lost_amount') }} as lost_amount,
        {{ money('numbers.pipeline_amount') }} as pipeline_amount,
        {{ money('numbers.weighted_pipeline_amount') }} as weighted_pipeline_amount,
        {{ win_rate('numbers.won_count', 'numbers.lost_count') }} as win_rate_by_count,
        {{ win_rate('numbers.won_amount', 'numbers.lost_amount') }} as win_rate_by_amount,
        cycles_by_manager.average_won_amount,
        cast(cycles_by_manager.average_days_to_close as {{ engine_type('double') }}) as average_days_to_close,
        numbers.won_count_month_to_date,
        numbers.won_count_quarter_to_date,
        {{ money('numbers.won_amount_month_to_date') }} as won_amount_month_to_date,
        {{ money('numbers.won_amount_quarter_to_date') }} as won_amount_quarter_to_date,
        -- activity
        numbers.task_count,
        numbers.completed_task_count,
        numbers.completed_task_count_month_to_date,
        numbers.completed_task_count_quarter_to_date,
        -- dates
        {{ to_reporting_date(as_of()) }} as as_of_date,
        -- provenance
        coalesce(users.source_system, {{ unknown_key() }}) as source_system
    from numbers_by_manager as numbers
    left join cycles_by_manager on numbers.manager_user_key = cycles_by_manager.manager_user_key
    left join users on numbers.manager_user_key = users.user_key
)

select * from final
