-- A win rate lies between 0 and 1, is 1 with wins and no losses, and null only where nothing was decided.
{{ config(meta={'dagster': {'ref': {'name': 'rep_owner_performance'}}}) }}

select
    owner_user_key,
    won_count,
    lost_count,
    win_rate_by_count,
    win_rate_by_amount
from {{ ref('rep_owner_performance') }}
where
    win_rate_by_count not between 0 and 1
    or win_rate_by_amount not between 0 and 1
    or (won_count > 0 and lost_count = 0 and win_rate_by_count <> 1)
    or (won_count + lost_count > 0) <> (win_rate_by_count is not null)
