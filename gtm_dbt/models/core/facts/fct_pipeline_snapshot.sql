{{ amounts_add_up() }}

with

deals_by_day as (
    select * from {{ ref('int_opportunity_days') }}
    where is_open_pipeline
),

final as (
    select
        -- keys
        {{
            surrogate_key([
                'date_key', 'owner_user_key', "coalesce(stage_name, '')", 'forecast_category',
            ])
        }} as pipeline_snapshot_key,
        date_key,
        owner_user_key,
        -- what it is
        stage_name,
        forecast_category,
        min(case when is_observed then 1 else 0 end) = 1 as is_observed,
        -- measures
        count(*) as opportunity_count,
        {{ total('sum(amount_converted)') }} as amount,
        {{ total('sum(weighted_amount_converted)', decimals=12) }} as weighted_amount,
        -- dates
        date_day,
        -- provenance
        source_system
    from deals_by_day
    group by
        date_key,
        date_day,
        owner_user_key,
        stage_name,
        forecast_category,
        source_system
)

select * from final
