-- Months and sources add up to the leads and to the opportunities that they were converted into, each counted
-- once.
{{ config(meta={'dagster': {'ref': {'name': 'rep_lead_conversion'}}}) }}

with

reported as (
    select
        sum(lead_count) as lead_count,
        sum(converted_lead_count) as converted_lead_count,
        sum(opportunity_count) as opportunity_count,
        sum(won_amount) as won_amount
    from {{ ref('rep_lead_conversion') }}
),

leads as (
    select
        count(*) as lead_count,
        count(case when is_converted then 1 end) as converted_lead_count
    from {{ ref('stg_salesforce__lead') }}
),

opportunities as (
    select
        count(*) as opportunity_count,
        sum(case when is_won then amount_converted end) as won_amount,
        {{ rounding_of_rows('case when is_won then amount_converted end') }} as won_rounding
    from {{ ref('fct_opportunity') }}
    where
        opportunity_id in (
            select converted.converted_opportunity_id
            from {{ ref('stg_salesforce__lead') }} as converted
            where converted.is_converted
        )
)

select
    reported.*,
    leads.lead_count as lead_count_of_leads,
    opportunities.opportunity_count as deal_count_of_deals
from reported
cross join leads
cross join opportunities
where
    coalesce(reported.lead_count, 0) <> leads.lead_count
    or coalesce(reported.converted_lead_count, 0) <> leads.converted_lead_count
    or coalesce(reported.opportunity_count, 0) <> opportunities.opportunity_count
    or abs(coalesce(reported.won_amount, 0) - coalesce(opportunities.won_amount, 0)) > opportunities.won_rounding
