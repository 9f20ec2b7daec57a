{{ amounts_add_up() }}

with

deals_by_day as (
    select * from {{ ref('int_opportunity_days') }}
    where is_open_pipeline
),

accounts_of_deals as (
    select * from {{ ref('int_opportunity_accounts') }}
),

movements as (
    select * from {{ ref('fct_pipeline_movement') }}
),

periods as (
    select * from {{ ref('int_pipeline_periods') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

teams as (
    select * from {{ ref('int_user_teams') }}
),

ends as (
    select
        pipeline_period_key,
        period_end_date,
        opening_day as date_day,
        'Start' as movement
    from periods
    union all
    select
        pipeline_period_key,
        period_end_date,
        closing_day as date_day,
        'End' as movement
    from periods
),

-- The pipeline at both ends is that of these days: nothing of it comes from the movements.
steps as (
    select
        ends.pipeline_period_key,
        ends.movement,
        deals_by_day.owner_user_key,
        accounts_of_deals.account_key,
        {{ is_due_by('deals_by_day.close_date', 'ends.period_end_date') }} as is_due,
        {{ total('deals_by_day.amount_converted') }} as amount,
        1 as opportunity_count,
        deals_by_day.source_system
    from ends
    inner join deals_by_day on ends.date_day = deals_by_day.date_day
    left join accounts_of_deals on deals_by_day.opportunity_id = accounts_of_deals.opportunity_id
    union all
    select
        pipeline_period_key,
        movement,
        owner_user_key,
        account_key,
        is_due,
        amount,
        opportunity_count,
        source_system
    from movements
),

by_segment as (
    select
        steps.pipeline_period_key,
        steps.owner_user_key,
        account_versions.segment,
        steps.is_due,
        steps.source_system,
        count(case when steps.movement = 'Start' then 1 end) as start_count,
        {{ total("sum(case when steps.movement = 'Start' then steps.amount end)") }} as start_amount,
        {% for movement in pipeline_movements() %}
            {{ total("sum(case when steps.movement = '" ~ movement ~ "' then steps.amount end)") }}
                as {{ movement_column(movement) }},
        {% endfor %}
        {{ total("sum(case when steps.movement = 'End' then steps.amount end)") }} as end_amount,
        count(case when steps.movement = 'End' then 1 end) as end_count
    from steps
    left join account_versions on steps.account_key = account_versions.account_key
    group by
        steps.pipeline_period_key,
        steps.owner_user_key,
        account_versions.segment,
        steps.is_due,
        steps.source_system
),

final as (
    select
        -- keys
        {{
            surrogate_key([
                'by_segment.pipeline_period_key',
                'by_segment.owner_user_key',
                "coalesce(by_segment.segment, '')",
                'cast(by_segment.is_due as integer)',
                'by_segment.source_system',
            ])
        }} as pipeline_waterfall_key,
        by_segment.pipeline_period_key,
        by_segment.owner_user_key,
        teams.manager_user_key,
        -- what it is
        periods.period_type,
        periods.period_name,
        owners.user_name as owner_name,
        owners.manager_name,
        by_segment.segment,
        by_segment.is_due,
        periods.is_period_over,
        periods.is_latest,
        periods.is_whole,
        -- measures
        by_segment.start_count,
        by_segment.start_amount,
        {% for movement in pipeline_movements() %}
            by_segment.{{ movement_column(movement) }},
        {% endfor %}
        by_segment.end_amount,
        by_segment.end_count,
        -- dates
        periods.period_start_date,
        periods.period_end_date,
        periods.opening_day,
        periods.closing_day,
        -- provenance
        by_segment.source_system
    from by_segment
    inner join periods on by_segment.pipeline_period_key = periods.pipeline_period_key
    left join owners on by_segment.owner_user_key = owners.user_key
    left join teams on by_segment.owner_user_key = teams.member_user_key and teams.is_direct
)

select * from final
