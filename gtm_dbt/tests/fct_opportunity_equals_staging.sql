-- Each additive measure of the fact equals staging's, and no deal is lost or doubled.
{{ config(meta={'dagster': {'ref': {'name': 'fct_opportunity'}}}) }}

with

deals as (
    select
        count(*) as deal_count,
        count(case when source_system = 'pipedrive' then 1 end) as pipedrive_deal_count,
        sum(amount) as amount,
        sum(expected_revenue) as expected_revenue,
        sum(arr_c) as arr_c,
        sum(arr_churn_c) as arr_churn_c
    from {{ ref('fct_opportunity') }}
),

staged as (
    select
        count(*) as deal_count,
        sum(amount) as amount,
        sum(expected_revenue) as expected_revenue,
        sum(arr_c) as arr_c,
        sum(arr_churn_c) as arr_churn_c
    from {{ ref('stg_salesforce__opportunity') }}
),

pipedrive_staged as (
    select count(distinct deal_id) as deal_count from {{ ref('stg_pipedrive__deal_changes') }}
)

select
    deals.deal_count,
    staged.deal_count as staged_deal_count,
    deals.pipedrive_deal_count,
    pipedrive_staged.deal_count as pipedrive_staged_deal_count,
    deals.amount,
    staged.amount as staged_amount
from deals
cross join staged
cross join pipedrive_staged
where
    deals.deal_count <> staged.deal_count + pipedrive_staged.deal_count
    or deals.pipedrive_deal_count <> pipedrive_staged.deal_count
    or deals.amount is distinct from staged.amount
    or deals.expected_revenue is distinct from staged.expected_revenue
    or deals.arr_c is distinct from staged.arr_c
    or deals.arr_churn_c is distinct from staged.arr_churn_c
