{{ amounts_add_up() }}

with

stage_intervals as (
    select
        *,
        cast({{ dbt.date_trunc('month', 'entered_date') }} as date) as entry_month
    from {{ ref('fct_opportunity_stage_history') }}
    where not is_closed_stage
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

stages as (
    select * from {{ ref('int_opportunity_stages') }}
),

months as (
    select * from {{ ref('int_months') }}
),

-- An opportunity counts once, however often it entered the stage in the month.
entered_deals as (
    select
        entry_month,
        stage_name,
        source_system,
        opportunity_id,
        max(case when exit_direction in ('Forward', 'Won') then 1 else 0 end) as left_forward,
        max(case when exit_direction = 'Lost' then 1 else 0 end) as lost
    from stage_intervals
    group by
        entry_month,
        stage_name,
        source_system,
        opportunity_id
),

cohorts as (
    select
        entered_deals.entry_month,
        entered_deals.stage_name,
        entered_deals.source_system,
        count(*) as entered_count,
        sum(entered_deals.left_forward) as left_forward_count,
        sum(entered_deals.lost) as lost_count,
        count(case when opportunities.opportunity_status = 'Won' then 1 end) as deals_won_count,
        count(case when opportunities.opportunity_status = 'Lost' then 1 end) as deals_lost_count,
        sum(case when opportunities.opportunity_status = 'Won' then opportunities.amount_converted end)
            as won_amount,
        count(case when opportunities.opportunity_status = 'Won' then opportunities.amount_converted end)
            as won_with_amount_count,
        cast(
            avg(case when opportunities.is_closed then opportunities.days_to_close end)
            as {{ engine_type('double') }}
        ) as average_days_to_close
    from entered_deals
    inner join opportunities on entered_deals.opportunity_id = opportunities.opportunity_id
    group by
        entered_deals.entry_month,
        entered_deals.stage_name,
        entered_deals.source_system
),

lengths as (
    select
        entry_month,
        stage_name,
        source_system,
        {{ median('days_in_stage') }} as median_days_in_stage,
        -- The mean is computed in decimals, so that it does not depend on the order of the rows.
        {{ safe_divide('sum(cast(days_in_stage as decimal(18, 8)))', 'count(days_in_stage)') }}
            as mean_days_in_stage
    from stage_intervals
    group by
        entry_month,
        stage_name,
        source_system
),

rated as (
    select
        cohorts.*,
        {{ safe_divide('cohorts.left_forward_count', 'cohorts.entered_count') }} as conversion_rate,
        {{ win_rate('cohorts.deals_won_count', 'cohorts.deals_lost_count') }} as win_rate_by_count
    from cohorts
),

final as (
    select
        -- keys
        {{
            surrogate_key([
                'rated.entry_month', "coalesce(rated.stage_name, '')", 'rated.source_system',
            ])
        }} as sales_velocity_key,
        rated.entry_month,
        rated.stage_name,
        stages.sort_order as stage_order,
        -- what it is
        months.fiscal_year,
        months.fiscal_quarter,
        months.fiscal_quarter_name,
        coalesce(months.is_month_over, false) as is_month_over,
        coalesce(months.is_latest, false) as is_latest,
        -- outcomes of the stage intervals
        rated.entered_count,
        cast(rated.left_forward_count as bigint) as left_forward_count,
        cast(rated.lost_count as bigint) as lost_count,
        lengths.median_days_in_stage,
        lengths.mean_days_in_stage,
        rated.conversion_rate,
        -- outcomes of the opportunities
        rated.deals_won_count,
        rated.deals_lost_count,
        rated.win_rate_by_count,
        {{ money('rated.won_amount') }} as won_amount,
        {{ average_amount('rated.won_amount', 'rated.won_with_amount_count') }} as average_won_amount,
        rated.average_days_to_close,
        -- Zero where opportunities were lost and none was won. Null where opportunities close, on average, before
        -- they are created.
        case
            when rated.average_days_to_close > 0
                then
                    {{
                        cents(
                            "rated.entered_count * rated.win_rate_by_count * case when rated.deals_won_count = 0 then 0 else "
                            ~ safe_divide('rated.won_amount', 'rated.won_with_amount_count')
                            ~ " end / rated.average_days_to_close"
                        )
                    }}
        end as velocity_per_day,
        -- provenance
        rated.source_system
    from rated
    inner join lengths
        on
            rated.entry_month = lengths.entry_month
            and coalesce(rated.stage_name, '') = coalesce(lengths.stage_name, '')
            and rated.source_system = lengths.source_system
    left join months on rated.entry_month = months.month_start_date
    left join stages on rated.stage_name = stages.stage_name
)

select * from final
