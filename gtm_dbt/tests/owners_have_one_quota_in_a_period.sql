-- An owner has quotas of one forecast type in a period. The report adds them, which may double them where there
-- are several types.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'rep_quota_attainment'}}}) }}

with

reported as (
    select period_key from {{ ref('rep_quota_attainment') }}
    group by period_key
)

select
    quotas.owner_user_key,
    quotas.period_key,
    count(*) as quota_count
from {{ ref('fct_forecasting_quota') }} as quotas
inner join reported on quotas.period_key = reported.period_key
where quotas.owner_user_key <> {{ unknown_key() }}
group by quotas.owner_user_key, quotas.period_key
having count(*) > 1
