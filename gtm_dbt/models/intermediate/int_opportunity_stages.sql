with

stages as (
    select * from {{ ref('stg_salesforce__opportunity_stage') }}
),

named as (
    select
        coalesce(stage_api_name, stage_name) as stage_name,
        sort_order,
        coalesce(is_won, false) as is_won,
        {{ is_closed_deal('is_closed', 'is_won') }} as is_closed,
        -- Of stages with one name, the one in use.
        row_number() over (
            partition by coalesce(stage_api_name, stage_name)
            order by case when is_active then 0 else 1 end, sort_order, opportunity_stage_id
        ) as rank_in_name
    from stages
),

final as (
    select
        stage_name,
        sort_order,
        is_won,
        is_closed
    from named
    where rank_in_name = 1 and stage_name is not null
)

select * from final
