with

pipeline_by_day as (
    select * from {{ ref('fct_pipeline_snapshot') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

days as (
    select * from {{ ref('dim_date') }}
),

last_day as (
    select max(date_day) as date_day
    from pipeline_by_day
),

final as (
    select
        -- keys
        pipeline_by_day.pipeline_snapshot_key,
        owners.user_id as owner_user_id,
        -- what it is
        pipeline_by_day.stage_name,
        pipeline_by_day.forecast_category,
        owners.user_name as owner_name,
        owners.manager_name,
        owners.division,
        pipeline_by_day.date_day = last_day.date_day as is_latest,
        pipeline_by_day.date_day = days.month_end_date as is_month_end,
        -- measures
        pipeline_by_day.opportunity_count,
        pipeline_by_day.amount,
        pipeline_by_day.weighted_amount,
        -- dates
        pipeline_by_day.date_day,
        -- provenance
        pipeline_by_day.source_system
    from pipeline_by_day
    cross join last_day
    left join owners on pipeline_by_day.owner_user_key = owners.user_key
    left join days on pipeline_by_day.date_key = days.date_key
)

select * from final
