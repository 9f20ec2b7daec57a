with

stages as (
    select * from {{ ref('stg_salesforce__opportunity_stage') }}
),

versions as (
    select * from {{ ref('int_opportunity_versions') }}
),

states as (
    {{ one_at_a_time('versions', 'opportunity_id') }}
),

named as (
    select
        coalesce(stage_api_name, stage_name) as stage_name,
        sort_order,
        coalesce(is_won, false) as is_won,
        {{ is_closed_opportunity('is_closed', 'is_won') }} as is_closed,
        forecast_category,
        default_probability,
        -- Where several stages have one name, the active one counts.
        row_number() over (
            partition by coalesce(stage_api_name, stage_name)
            order by case when is_active then 0 else 1 end, sort_order, opportunity_stage_id
        ) as rank_in_name
    from stages
),

-- Stages found on opportunities but not, or no longer, configured in the org. The newest version of an opportunity
-- in such a stage says whether it is won or closed, and what its deals are forecast by.
used as (
    select
        stage_name,
        coalesce(is_won, false) as is_won,
        {{ is_closed_opportunity('is_closed', 'is_won') }} as is_closed,
        forecast_category,
        probability,
        row_number() over (
            partition by stage_name
            order by {{ newest_first('system_modstamp', 'is_deleted') }}
        ) as recency
    from states
    where stage_name is not null
),

final as (
    select
        stage_name,
        sort_order,
        is_won,
        is_closed,
        forecast_category,
        default_probability
    from named
    where rank_in_name = 1 and stage_name is not null
    union all
    select
        used.stage_name,
        null as sort_order,
        used.is_won,
        used.is_closed,
        used.forecast_category,
        used.probability as default_probability
    from used
    left join named on used.stage_name = named.stage_name
    where used.recency = 1 and named.stage_name is null
)

select * from final
