{{ amounts_add_up() }}

with

changes as (
    select * from {{ ref('fct_pipeline_change') }}
    where movement = 'Pushed out'
),

deals_by_day as (
    select * from {{ ref('int_opportunity_days') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

calendar as (
    select * from {{ ref('dim_date') }}
),

-- The change takes the opportunity from one close date and brings it to the other.
pushes as (
    select
        taken.opportunity_id,
        taken.account_key,
        taken.owner_user_key,
        taken.date_day as pushed_date,
        taken.close_date as from_close_date,
        brought.close_date as to_close_date,
        from_days.fiscal_quarter_start_date <> to_days.fiscal_quarter_start_date as is_out_of_quarter
    from changes as taken
    inner join changes as brought
        on
            taken.opportunity_id = brought.opportunity_id
            and taken.date_key = brought.date_key
            and taken.close_date_key <> brought.close_date_key
    inner join calendar as from_days on taken.close_date_key = from_days.date_key
    inner join calendar as to_days on brought.close_date_key = to_days.date_key
    where
        taken.opportunity_count = -1
        and brought.opportunity_count = 1
        and from_days.month_start_date <> to_days.month_start_date
),

numbered as (
    select
        *,
        row_number() over (partition by opportunity_id order by pushed_date) as push_number,
        row_number() over (partition by opportunity_id order by pushed_date desc) = 1 as is_last_push
    from pushes
),

final as (
    select
        -- keys
        {{ surrogate_key(['pushes.opportunity_id', date_key('pushes.pushed_date')]) }} as slipped_deal_key,
        pushes.opportunity_id,
        pushes.account_key,
        pushes.owner_user_key,
        -- what it is
        opportunities.opportunity_name,
        opportunities.opportunity_status,
        deals_by_day.stage_name,
        deals_by_day.forecast_category,
        owners.user_name as owner_name,
        owners.manager_name,
        account_versions.segment,
        pushes.is_out_of_quarter,
        pushes.from_close_date < pushes.pushed_date as was_overdue,
        pushes.is_last_push,
        -- measures
        pushes.push_number,
        cast({{ dbt.datediff('pushes.from_close_date', 'pushes.to_close_date', 'day') }} as bigint) as days_pushed,
        {{ cents('deals_by_day.amount_converted') }} as amount,
        -- dates
        pushes.pushed_date,
        pushes.from_close_date,
        pushes.to_close_date,
        -- provenance
        deals_by_day.source_system
    from numbered as pushes
    inner join deals_by_day
        on pushes.opportunity_id = deals_by_day.opportunity_id and pushes.pushed_date = deals_by_day.date_day
    left join opportunities on pushes.opportunity_id = opportunities.opportunity_id
    left join account_versions on pushes.account_key = account_versions.account_key
    left join owners on pushes.owner_user_key = owners.user_key
)

select * from final
