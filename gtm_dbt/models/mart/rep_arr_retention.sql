{%- set parts = ['opening', 'new', 'expansion', 'reactivation', 'contraction', 'churn', 'closing'] -%}
{#- How many months a group of customers is followed, and what its columns are called by. -#}
{%- set spans = {1: '_of_month', 12: ''} -%}

with

balances as (
    select * from {{ ref('rep_arr_monthly') }}
),

months as (
    select * from {{ ref('int_months') }}
),

first_month as (
    select min(month_start_date) as month_start_date from balances
),

summed as (
    select
        month_start_date,
        {% for part in parts %}
            sum({{ part }}_arr) as {{ part }}_arr,
        {% endfor %}
        count(case when closing_arr > 0 and account_id <> {{ unknown_key() }} then 1 end) as customer_count,
        count(case when closing_arr < 0 then 1 end) as negative_account_count
    from balances
    group by month_start_date
),

-- Customers are the accounts with ARR at the end of a month. The unknown account is none.
{% for span in spans %}
    followed_{{ span }} as (
        select
            months.month_start_date,
            count(*) as starting_count,
            count(case when coalesce(at_end.closing_arr, 0) <= 0 then 1 end) as left_count,
            sum(at_start.closing_arr) as starting_arr,
            -- What an account has lost beyond its ARR is not the others' to make good.
            sum(greatest(coalesce(at_end.closing_arr, 0), 0)) as kept_arr,
            sum(least(greatest(coalesce(at_end.closing_arr, 0), 0), at_start.closing_arr))
                as kept_without_growth_arr
        from months
        inner join balances as at_start
            on
                at_start.month_start_date
                = cast({{ dbt.dateadd('month', -span, 'months.month_start_date') }} as date)
                and at_start.closing_arr > 0
                and at_start.account_id <> {{ unknown_key() }}
        left join balances as at_end
            on
                at_start.account_id = at_end.account_id
                and months.month_start_date = at_end.month_start_date
        group by months.month_start_date
    ),
{% endfor %}

final as (
    select
        -- what it is
        months.month_start_date,
        months.fiscal_year,
        months.fiscal_quarter,
        months.fiscal_quarter_name,
        months.is_month_over,
        months.is_latest,
        -- balance
        {% for part in parts %}
            {{ money('summed.' ~ part ~ '_arr') }} as {{ part }}_arr,
        {% endfor %}
        coalesce(summed.customer_count, 0) as customer_count,
        coalesce(summed.negative_account_count, 0) as negative_account_count,
        -- retention, over twelve months and over this month
        {% for span, name in spans.items() | sort(reverse=true) %}
            coalesce(followed_{{ span }}.starting_count, 0) as starting_customer_count{{ name }},
            coalesce(followed_{{ span }}.left_count, 0) as left_customer_count{{ name }},
            {{ money('followed_' ~ span ~ '.starting_arr') }} as starting_arr{{ name }},
            {{ money('followed_' ~ span ~ '.kept_arr') }} as kept_arr{{ name }},
            {{ money('followed_' ~ span ~ '.kept_without_growth_arr') }} as kept_without_growth_arr{{ name }},
            {% for rate, kept in [('nrr', 'kept_arr'), ('grr', 'kept_without_growth_arr')] %}
                {{ safe_divide('followed_' ~ span ~ '.' ~ kept, 'followed_' ~ span ~ '.starting_arr') }}
                    as {{ rate ~ name }},
            {% endfor %}
            {{ safe_divide('followed_' ~ span ~ '.left_count', 'followed_' ~ span ~ '.starting_count') }}
                as logo_churn_rate{{ name }},
        {% endfor %}
        -- dates
        months.last_day,
        -- provenance
        'all' as source_system
    from months
    inner join first_month on months.month_start_date >= first_month.month_start_date
    left join summed on months.month_start_date = summed.month_start_date
    {% for span in spans %}
        left join followed_{{ span }} on months.month_start_date = followed_{{ span }}.month_start_date
    {% endfor %}
)

select * from final
