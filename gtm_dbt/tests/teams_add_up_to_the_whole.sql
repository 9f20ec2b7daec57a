-- Users without a manager and the teams of the managers among them add up to the whole, amounts up to the rounding
-- of the rows. Left out are users whose managers report to each other in a circle, above whom there is nobody.
{{ config(meta={'dagster': {'ref': {'name': 'rep_manager_performance'}}}) }}

with

managers as (
    select * from {{ ref('rep_manager_performance') }}
),

teams as (
    select * from {{ ref('int_user_teams') }}
),

circles as (
    select teams.manager_user_key
    from teams
    inner join teams as opposite
        on
            teams.manager_user_key = opposite.member_user_key
            and teams.member_user_key = opposite.manager_user_key
),

in_circles as (
    select manager_user_key as user_key
    from circles
    union
    select teams.member_user_key as user_key
    from teams
    inner join circles on teams.manager_user_key = circles.manager_user_key
),

users as (
    select count(*) as user_count
    from {{ ref('dim_user') }}
    where
        user_key <> {{ unknown_key() }}
        and user_key not in (select in_circles.user_key from in_circles)
),

reported as (
    select
        sum(managers.member_count) as member_count,
        sum(managers.won_count) as won_count,
        sum(managers.lost_count) as lost_count,
        sum(managers.won_amount) as won_amount,
        sum(managers.pipeline_amount) as pipeline_amount,
        count(*) as row_count,
        sum(managers.task_count) as task_count
    from managers
    where
        managers.manager_user_key = {{ no_manager_key() }}
        or managers.manager_user_key in (
            select teams.member_user_key
            from teams
            where teams.manager_user_key = {{ no_manager_key() }}
        )
),

opportunities as (
    select
        count(case when is_won then 1 end) as won_count,
        count(case when opportunity_status = 'Lost' then 1 end) as lost_count,
        coalesce(sum(case when is_won then amount_converted end), 0) as won_amount,
        {{ rounding_of_rows('case when is_won then amount_converted end') }} as won_rounding,
        coalesce(sum(case when is_open_pipeline then amount_converted end), 0) as pipeline_amount,
        {{ rounding_of_rows('case when is_open_pipeline then amount_converted end') }} as pipeline_rounding
    from {{ ref('fct_opportunity') }}
    where owner_user_key not in (select in_circles.user_key from in_circles)
),

tasks as (
    select count(*) as task_count
    from {{ ref('fct_task') }}
    where owner_user_key not in (select in_circles.user_key from in_circles)
)

select
    reported.*,
    users.user_count
from reported
cross join users
cross join opportunities
cross join tasks
where
    reported.member_count <> users.user_count
    or reported.won_count <> opportunities.won_count
    or reported.lost_count <> opportunities.lost_count
    or abs(reported.won_amount - opportunities.won_amount)
    > least(opportunities.won_rounding, 0.005 * reported.row_count)
    or abs(reported.pipeline_amount - opportunities.pipeline_amount)
    > least(opportunities.pipeline_rounding, 0.005 * reported.row_count)
    or reported.task_count <> tasks.task_count
