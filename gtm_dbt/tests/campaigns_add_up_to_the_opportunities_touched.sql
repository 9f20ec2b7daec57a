-- By each kind of touch, campaigns add up to the opportunities that were touched: to the cent where amounts are
-- whole cents, and otherwise up to the rounding of each campaign's sum.
{{ config(meta={'dagster': {'ref': {'name': 'rep_campaign_attribution'}}}) }}

with

reported as (
    select
        sum(member_count) as member_count,
        sum(influenced_amount_first_touch) as influenced_first,
        sum(influenced_amount_last_touch) as influenced_last,
        sum(influenced_amount_even_touch) as influenced_even,
        sum(won_amount_first_touch) as won_first,
        sum(won_amount_last_touch) as won_last,
        sum(won_amount_even_touch) as won_even
    from {{ ref('rep_campaign_attribution') }}
),

members as (
    select count(*) as member_count from {{ ref('fct_campaign_member') }}
),

touched as (
    select
        coalesce(sum(amount_converted), 0) as influenced_amount,
        {{ rounding_of_rows('amount_converted') }} as influenced_rounding,
        coalesce(sum(case when is_won then amount_converted end), 0) as won_amount,
        {{ rounding_of_rows('case when is_won then amount_converted end') }} as won_rounding
    from {{ ref('fct_opportunity') }}
    where
        campaign_id is not null
        or opportunity_id in (
            select influences.opportunity_id
            from {{ ref('fct_campaign_influence') }} as influences
        )
)

select
    reported.*,
    touched.influenced_amount,
    touched.won_amount
from reported
cross join members
cross join touched
where
    coalesce(reported.member_count, 0) <> members.member_count
    or abs(coalesce(reported.influenced_first, 0) - touched.influenced_amount) > touched.influenced_rounding
    or abs(coalesce(reported.influenced_last, 0) - touched.influenced_amount) > touched.influenced_rounding
    or abs(coalesce(reported.influenced_even, 0) - touched.influenced_amount) > touched.influenced_rounding
    or abs(coalesce(reported.won_first, 0) - touched.won_amount) > touched.won_rounding
    or abs(coalesce(reported.won_last, 0) - touched.won_amount) > touched.won_rounding
    or abs(coalesce(reported.won_even, 0) - touched.won_amount) > touched.won_rounding
