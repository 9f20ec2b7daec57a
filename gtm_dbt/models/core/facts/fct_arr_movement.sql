{{ amounts_add_up() }}

with

opportunities as (
    select * from {{ ref('int_opportunity_arr') }}
),

account_keys as (
    select * from {{ ref('int_account_keys') }}
),

moves as (
    select
        opportunities.opportunity_id,
        opportunities.account_key,
        account_keys.account_id,
        opportunities.owner_user_key,
        opportunities.is_loss_of_opening,
        opportunities.close_date,
        opportunities.source_system,
        coalesce(opportunities.gained_arr_converted, 0) as gained_arr,
        coalesce(opportunities.lost_arr_converted, 0) as lost_arr,
        coalesce(opportunities.gained_arr_converted, 0)
        - coalesce(opportunities.lost_arr_converted, 0) as moved_arr
    from opportunities
    inner join account_keys on opportunities.account_key = account_keys.account_key
),

-- Gains of a day come before its losses, so that an account whose contract is replaced by another does not churn.
numbered as (
    select
        moves.*,
        row_number() over (
            partition by moves.account_id
            order by
                coalesce(moves.close_date, cast('9999-12-31' as date)) asc,
                moves.moved_arr desc,
                moves.opportunity_id asc
        ) as movement_number
    from moves
    where moves.moved_arr <> 0
),

balanced as (
    select
        numbered.*,
        sum(numbered.moved_arr) over (
            partition by numbered.account_id
            order by numbered.movement_number
            rows between unbounded preceding and current row
        ) as arr_after
    from numbered
),

final as (
    select
        -- keys
        opportunity_id,
        account_key,
        account_id,
        owner_user_key,
        {{ date_key('close_date') }} as movement_date_key,
        -- what it is
        case
            when movement_number = 1 and moved_arr > 0 then 'new'
            when moved_arr > 0 and arr_after - moved_arr > 0 then 'expansion'
            when moved_arr > 0 then 'reactivation'
            when arr_after > 0 then 'contraction'
            else 'churn'
        end as movement_type,
        is_loss_of_opening,
        -- measures, in the reporting currency
        {{ cents('gained_arr') }} as gained_arr,
        {{ cents('lost_arr') }} as lost_arr,
        {{ cents('moved_arr') }} as moved_arr,
        {{ cents('arr_after - moved_arr') }} as arr_before,
        {{ cents('arr_after') }} as arr_after,
        -- dates
        close_date as movement_date,
        -- provenance
        source_system
    from balanced
)

select * from final
