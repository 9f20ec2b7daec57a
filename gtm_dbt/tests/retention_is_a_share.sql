-- Gross retention and logo churn lie between 0 and 1, and net retention is no less than gross.
{{ config(meta={'dagster': {'ref': {'name': 'rep_arr_retention'}}}) }}

select
    month_start_date,
    nrr,
    grr,
    logo_churn_rate,
    nrr_of_month,
    grr_of_month,
    logo_churn_rate_of_month
from {{ ref('rep_arr_retention') }}
where
    grr not between 0 and 1
    or grr_of_month not between 0 and 1
    or logo_churn_rate not between 0 and 1
    or logo_churn_rate_of_month not between 0 and 1
    or nrr < grr
    or nrr_of_month < grr_of_month
