{{ amounts_add_up() }}

with

campaigns as (
    select * from {{ ref('dim_campaign') }}
),

members as (
    select * from {{ ref('fct_campaign_member') }}
),

influences as (
    select * from {{ ref('fct_campaign_influence') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

members_by_campaign as (
    select
        campaign_key,
        count(*) as member_count,
        count(case when has_responded then 1 end) as response_count
    from members
    group by campaign_key
),

-- A campaign touches an opportunity where the source credits it, in any influence model, or where it is the
-- opportunity's primary source.
credits as (
    select
        opportunity_id,
        campaign_key,
        created_at as touched_at
    from influences
    union all
    select
        opportunities.opportunity_id,
        coalesce(campaigns.campaign_key, {{ unknown_key() }}) as campaign_key,
        opportunities.created_at as touched_at
    from opportunities
    left join campaigns on opportunities.campaign_id = campaigns.campaign_id
    where opportunities.campaign_id is not null
),

touches as (
    select
        opportunity_id,
        campaign_key,
        min(touched_at) as touched_at
    from credits
    group by opportunity_id, campaign_key
),

ordered_touches as (
    select
        touches.campaign_key,
        opportunities.opportunity_id,
        opportunities.is_won,
        coalesce(opportunities.amount_converted, 0) as amount,
        count(*) over (partition by opportunities.opportunity_id) as touch_count,
        row_number() over (
            partition by opportunities.opportunity_id
            order by touches.touched_at, touches.campaign_key
        ) as touch_number
    from touches
    inner join opportunities on touches.opportunity_id = opportunities.opportunity_id
),

evenly_split as (
    select
        ordered_touches.*,
        {{ average_amount('ordered_touches.amount', 'ordered_touches.touch_count') }} as even_share
    from ordered_touches
),

-- Even shares are whole cents, and the first touch takes the remainder, so that campaigns add up to the whole.
shared as (
    select
        evenly_split.*,
        case when evenly_split.touch_number = 1 then evenly_split.amount else 0 end as first_touch_amount,
        case when evenly_split.touch_number = evenly_split.touch_count then evenly_split.amount else 0 end
            as last_touch_amount,
        case
            when evenly_split.touch_number = 1
                then evenly_split.amount - (evenly_split.touch_count - 1) * evenly_split.even_share
            else evenly_split.even_share
        end as even_touch_amount
    from evenly_split
),

deals_by_campaign as (
    select
        campaign_key,
        count(*) as influenced_count,
        count(case when is_won then 1 end) as won_count,
        sum(first_touch_amount) as influenced_amount_first_touch,
        sum(last_touch_amount) as influenced_amount_last_touch,
        sum(even_touch_amount) as influenced_amount_even_touch,
        sum(case when is_won then first_touch_amount end) as won_amount_first_touch,
        sum(case when is_won then last_touch_amount end) as won_amount_last_touch,
        sum(case when is_won then even_touch_amount end) as won_amount_even_touch
    from shared
    group by campaign_key
),

final as (
    select
        -- keys
        campaigns.campaign_key,
        campaigns.campaign_id,
        -- what it is
        campaigns.campaign_name,
        campaigns.campaign_type,
        campaigns.campaign_status,
        campaigns.start_date,
        campaigns.end_date,
        -- people
        coalesce(members_by_campaign.member_count, 0) as member_count,
        coalesce(members_by_campaign.response_count, 0) as response_count,
        {{ safe_divide('members_by_campaign.response_count', 'members_by_campaign.member_count') }}
            as response_rate,
        -- opportunities
        coalesce(deals_by_campaign.influenced_count, 0) as influenced_count,
        coalesce(deals_by_campaign.won_count, 0) as won_count,
        {{ money('deals_by_campaign.influenced_amount_first_touch') }} as influenced_amount_first_touch,
        {{ money('deals_by_campaign.influenced_amount_last_touch') }} as influenced_amount_last_touch,
        {{ money('deals_by_campaign.influenced_amount_even_touch') }} as influenced_amount_even_touch,
        {{ money('deals_by_campaign.won_amount_first_touch') }} as won_amount_first_touch,
        {{ money('deals_by_campaign.won_amount_last_touch') }} as won_amount_last_touch,
        {{ money('deals_by_campaign.won_amount_even_touch') }} as won_amount_even_touch,
        -- what it costs and brings
        {{ cents('campaigns.budgeted_cost_converted') }} as budgeted_cost,
        {{ cents('campaigns.actual_cost_converted') }} as actual_cost,
        {{
            safe_divide(
                '(coalesce(deals_by_campaign.won_amount_even_touch, 0) - campaigns.actual_cost_converted)',
                'campaigns.actual_cost_converted'
            )
        }} as return_on_cost,
        -- provenance
        campaigns.source_system
    from campaigns
    left join members_by_campaign on campaigns.campaign_key = members_by_campaign.campaign_key
    left join deals_by_campaign on campaigns.campaign_key = deals_by_campaign.campaign_key
    where
        campaigns.campaign_key <> {{ unknown_key() }}
        or members_by_campaign.campaign_key is not null
        or deals_by_campaign.campaign_key is not null
)

select * from final
