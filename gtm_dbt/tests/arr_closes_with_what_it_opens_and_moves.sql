-- ARR of an account closes with what it opened with and the five movements of the month, to the cent, and opens
-- with what the month before closed with. A month that is absent has none.
{{ config(meta={'dagster': {'ref': {'name': 'rep_arr_monthly'}}}) }}

with

months as (
    select * from {{ ref('rep_arr_monthly') }}
),

compared as (
    select
        months.account_id,
        months.month_start_date,
        months.opening_arr,
        coalesce(month_before.closing_arr, 0) as closed_before,
        months.closing_arr,
        months.opening_arr + months.new_arr + months.expansion_arr + months.reactivation_arr
        + months.contraction_arr + months.churn_arr as opened_and_moved
    from months
    left join months as month_before
        on
            months.account_id = month_before.account_id
            and month_before.month_start_date
            = cast({{ dbt.dateadd('month', -1, 'months.month_start_date') }} as date)
)

select
    account_id,
    month_start_date,
    opening_arr,
    closed_before,
    closing_arr,
    opened_and_moved
from compared
where opening_arr <> closed_before or closing_arr <> opened_and_moved
