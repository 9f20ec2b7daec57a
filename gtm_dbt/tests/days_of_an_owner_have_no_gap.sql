-- An owner's days have no gap between the first and the last, as far as dim_date has none.
{{ config(meta={'dagster': {'ref': {'name': 'rep_daily_activity'}}}) }}

with

spans as (
    select
        owner_user_key,
        count(*) as day_count,
        min(date_day) as first_day,
        max(date_day) as last_day
    from {{ ref('rep_daily_activity') }}
    group by owner_user_key
),

days as (
    select
        spans.owner_user_key,
        count(*) as day_count
    from spans
    inner join {{ ref('dim_date') }} as dates on dates.date_day between spans.first_day and spans.last_day
    group by spans.owner_user_key
)

select
    spans.owner_user_key,
    spans.day_count,
    days.day_count as day_count_of_dates
from spans
left join days on spans.owner_user_key = days.owner_user_key
where spans.day_count is distinct from days.day_count
