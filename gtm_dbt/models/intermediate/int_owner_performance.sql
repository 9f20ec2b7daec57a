{{ amounts_add_up() }}

with

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

tasks as (
    select * from {{ ref('fct_task') }}
),

today as (
    select
        date_day as as_of_date,
        month_start_date,
        fiscal_quarter_start_date
    from {{ ref('dim_date') }}
    where date_day = {{ to_reporting_date(as_of()) }}
),

deals_by_owner as (
    select
        opportunities.owner_user_key,
        count(*) as opportunity_count,
        {{ opportunity_outcomes('opportunities') }},
        count(case when opportunities.opportunity_status = 'Open' then 1 end) as open_count,
        count(case when opportunities.is_open_pipeline then 1 end) as pipeline_count,
        sum(case when opportunities.is_open_pipeline then opportunities.amount_converted end) as pipeline_amount,
        sum(case when opportunities.is_open_pipeline then opportunities.weighted_amount_converted end)
            as weighted_pipeline_amount,
        count(
            case
                when {{ is_booked_between('opportunities', 'today.month_start_date', 'today.as_of_date') }}
                    then 1
            end
        ) as won_count_month_to_date,
        count(
            case
                when
                    {{ is_booked_between('opportunities', 'today.fiscal_quarter_start_date', 'today.as_of_date') }}
                    then 1
            end
        ) as won_count_quarter_to_date,
        sum(
            case
                when {{ is_booked_between('opportunities', 'today.month_start_date', 'today.as_of_date') }}
                    then opportunities.amount_converted
            end
        ) as won_amount_month_to_date,
        sum(
            case
                when
                    {{ is_booked_between('opportunities', 'today.fiscal_quarter_start_date', 'today.as_of_date') }}
                    then opportunities.amount_converted
            end
        ) as won_amount_quarter_to_date
    from opportunities
    cross join today
    group by opportunities.owner_user_key
),

tasks_by_owner as (
    select
        tasks.owner_user_key,
        count(*) as task_count,
        count(case when tasks.is_completed then 1 end) as completed_task_count,
        count(
            case when tasks.completed_date between today.month_start_date and today.as_of_date then 1 end
        ) as completed_task_count_month_to_date,
        count(
            case when tasks.completed_date between today.fiscal_quarter_start_date and today.as_of_date then 1 end
        ) as completed_task_count_quarter_to_date
    from tasks
    cross join today
    group by tasks.owner_user_key
),

final as (
    select
        -- keys
        coalesce(deals_by_owner.owner_user_key, tasks_by_owner.owner_user_key) as owner_user_key,
        -- opportunities
        coalesce(deals_by_owner.opportunity_count, 0) as opportunity_count,
        coalesce(deals_by_owner.won_count, 0) as won_count,
        coalesce(deals_by_owner.lost_count, 0) as lost_count,
        coalesce(deals_by_owner.open_count, 0) as open_count,
        coalesce(deals_by_owner.pipeline_count, 0) as pipeline_count,
        coalesce(deals_by_owner.won_count_month_to_date, 0) as won_count_month_to_date,
        coalesce(deals_by_owner.won_count_quarter_to_date, 0) as won_count_quarter_to_date,
        {{ total('deals_by_owner.won_amount') }} as won_amount,
        {{ total('deals_by_owner.lost_amount') }} as lost_amount,
        {{ total('deals_by_owner.pipeline_amount') }} as pipeline_amount,
        {{ total('deals_by_owner.weighted_pipeline_amount', decimals=12) }} as weighted_pipeline_amount,
        {{ total('deals_by_owner.won_amount_month_to_date') }} as won_amount_month_to_date,
        {{ total('deals_by_owner.won_amount_quarter_to_date') }} as won_amount_quarter_to_date,
        {{ win_rate('deals_by_owner.won_count', 'deals_by_owner.lost_count') }} as win_rate_by_count,
        {{ win_rate('deals_by_owner.won_amount', 'deals_by_owner.lost_amount') }} as win_rate_by_amount,
        deals_by_owner.average_won_amount,
        cast(deals_by_owner.average_days_to_close as {{ engine_type('double') }}) as average_days_to_close,
        -- activity
        coalesce(tasks_by_owner.task_count, 0) as task_count,
        coalesce(tasks_by_owner.completed_task_count, 0) as completed_task_count,
        coalesce(tasks_by_owner.completed_task_count_month_to_date, 0) as completed_task_count_month_to_date,
        coalesce(tasks_by_owner.completed_task_count_quarter_to_date, 0) as completed_task_count_quarter_to_date,
        -- dates
        today.as_of_date
    from deals_by_owner
    full outer join tasks_by_owner on deals_by_owner.owner_user_key = tasks_by_owner.owner_user_key
    cross join today
)

select * from final
