-- Each push out of a month that the days of opportunities show is one row, with both close dates, and none other.
{{ config(meta={'dagster': {'ref': {'name': 'rep_slipped_deals'}}}) }}

with

days as (
    select * from {{ ref('int_opportunity_days') }}
),

pushes as (
    select
        days.opportunity_id,
        days.date_day as pushed_date,
        days.owner_user_key,
        days_before.close_date as from_close_date,
        days.close_date as to_close_date,
        {{ cents('days.amount_converted') }} as amount
    from days
    inner join days as days_before
        on days.opportunity_id = days_before.opportunity_id and days.date_day = days_before.date_day + 1
    where
        days_before.is_open_pipeline
        and {{ dbt.date_trunc('month', 'days.close_date') }}
        > {{ dbt.date_trunc('month', 'days_before.close_date') }}
),

numbered as (
    select
        *,
        row_number() over (partition by opportunity_id order by pushed_date) as push_number
    from pushes
),

reported as (
    select * from {{ ref('rep_slipped_deals') }}
)

select
    coalesce(numbered.opportunity_id, reported.opportunity_id) as opportunity_id,
    coalesce(numbered.pushed_date, reported.pushed_date) as pushed_date
from numbered
full outer join reported
    on numbered.opportunity_id = reported.opportunity_id and numbered.pushed_date = reported.pushed_date
where
    numbered.push_number is distinct from reported.push_number
    or numbered.owner_user_key is distinct from reported.owner_user_key
    or numbered.from_close_date is distinct from reported.from_close_date
    or numbered.to_close_date is distinct from reported.to_close_date
    or numbered.amount is distinct from reported.amount
