with

performance as (
    select * from {{ ref('int_owner_performance') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

final as (
    select
        -- keys
        owners.user_key as owner_user_key,
        owners.user_id as owner_user_id,
        -- who it is
        owners.user_name as owner_name,
        owners.manager_name,
        owners.division,
        owners.is_active,
        -- opportunities
        performance.opportunity_count,
        performance.won_count,
        performance.lost_count,
        performance.open_count,
        performance.pipeline_count,
        {{ cents('performance.won_amount') }} as won_amount,
        {{ cents('performance.lost_amount') }} as lost_amount,
        {{ cents('performance.pipeline_amount') }} as pipeline_amount,
        {{ cents('performance.weighted_pipeline_amount') }} as weighted_pipeline_amount,
        performance.win_rate_by_count,
        performance.win_rate_by_amount,
        performance.average_won_amount,
        performance.average_days_to_close,
        performance.won_count_month_to_date,
        performance.won_count_quarter_to_date,
        {{ cents('performance.won_amount_month_to_date') }} as won_amount_month_to_date,
        {{ cents('performance.won_amount_quarter_to_date') }} as won_amount_quarter_to_date,
        -- activity
        performance.task_count,
        performance.completed_task_count,
        performance.completed_task_count_month_to_date,
        performance.completed_task_count_quarter_to_date,
        -- dates
        performance.as_of_date,
        -- provenance
        owners.source_system
    from performance
    inner join owners on performance.owner_user_key = owners.user_key
)

select * from final
