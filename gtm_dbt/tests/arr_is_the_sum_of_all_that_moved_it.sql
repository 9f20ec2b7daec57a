-- The ARR of each account and month is what its opportunities gained less what they lost up to its last day, added
-- up from the opportunities and not from the months before; where no month is shown, that is zero. The company's
-- balance is that of the accounts together.
{{ config(meta={'dagster': {'ref': {'name': 'rep_arr_retention'}}}) }}

with

balances as (
    select * from {{ ref('rep_arr_monthly') }}
),

company as (
    select * from {{ ref('rep_arr_retention') }}
),

moves as (
    select
        account_keys.account_id,
        opportunities.close_date,
        coalesce(opportunities.gained_arr_converted, 0)
        - coalesce(opportunities.lost_arr_converted, 0) as moved_arr
    from {{ ref('int_opportunity_arr') }} as opportunities
    inner join {{ ref('int_account_keys') }} as account_keys
        on opportunities.account_key = account_keys.account_key
),

accounts as (
    select account_id
    from moves
    group by account_id
),

added_up as (
    select
        accounts.account_id,
        months.month_start_date,
        coalesce(sum(moves.moved_arr), 0) as arr
    from accounts
    cross join company as months
    left join moves
        on
            accounts.account_id = moves.account_id
            and months.last_day >= moves.close_date
    group by accounts.account_id, months.month_start_date
),

company_added_up as (
    select
        months.month_start_date,
        coalesce(sum(moves.moved_arr), 0) as arr
    from company as months
    left join moves on months.last_day >= moves.close_date
    group by months.month_start_date
),

compared as (
    select
        coalesce(added_up.account_id, balances.account_id) as account_id,
        coalesce(added_up.month_start_date, balances.month_start_date) as month_start_date,
        coalesce(balances.closing_arr, 0) as closing_arr,
        coalesce(added_up.arr, 0) as arr_added_up
    from added_up
    full outer join balances
        on
            added_up.account_id = balances.account_id
            and added_up.month_start_date = balances.month_start_date
    union all
    select
        'all accounts' as account_id,
        company.month_start_date,
        company.closing_arr,
        company_added_up.arr as arr_added_up
    from company
    inner join company_added_up on company.month_start_date = company_added_up.month_start_date
)

select
    account_id,
    month_start_date,
    closing_arr,
    arr_added_up
from compared
where closing_arr <> arr_added_up
