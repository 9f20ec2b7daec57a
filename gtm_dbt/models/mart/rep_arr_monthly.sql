{%- set movement_types = ['new', 'expansion', 'reactivation', 'contraction', 'churn'] -%}

with

movements as (
    select
        *,
        cast({{ dbt.date_trunc('month', 'movement_date') }} as date) as month_start_date
    from {{ ref('fct_arr_movement') }}
    where movement_date <= {{ to_reporting_date(as_of()) }}
),

months as (
    select * from {{ ref('int_months') }}
),

accounts as (
    select * from {{ ref('dim_account') }}
),

moved_by_month as (
    select
        account_id,
        month_start_date,
        count(*) as movement_count,
        {% for type in movement_types %}
            coalesce(sum(case when movement_type = '{{ type }}' then moved_arr end), 0) as {{ type }}_arr,
        {% endfor %}
        sum(moved_arr) as moved_arr
    from movements
    group by account_id, month_start_date
),

first_months as (
    select
        account_id,
        min(month_start_date) as first_month
    from moved_by_month
    group by account_id
),

balanced as (
    select
        first_months.account_id,
        months.month_start_date,
        months.last_day,
        months.fiscal_year,
        months.fiscal_quarter,
        months.fiscal_quarter_name,
        months.is_month_over,
        months.is_latest,
        coalesce(moved.movement_count, 0) as movement_count,
        {% for type in movement_types %}
            coalesce(moved.{{ type }}_arr, 0) as {{ type }}_arr,
        {% endfor %}
        coalesce(moved.moved_arr, 0) as moved_arr,
        sum(coalesce(moved.moved_arr, 0)) over (
            partition by first_months.account_id
            order by months.month_start_date
            rows between unbounded preceding and current row
        ) as closing_arr
    from first_months
    inner join months on first_months.first_month <= months.month_start_date
    left join moved_by_month as moved
        on
            first_months.account_id = moved.account_id
            and months.month_start_date = moved.month_start_date
),

final as (
    select
        -- keys
        {{ surrogate_key(['balanced.account_id', 'balanced.month_start_date']) }} as arr_month_key,
        balanced.account_id,
        accounts.owner_user_id,
        balanced.month_start_date,
        -- what it is
        accounts.account_name,
        accounts.industry,
        accounts.segment,
        accounts.owner_name,
        balanced.fiscal_year,
        balanced.fiscal_quarter,
        balanced.fiscal_quarter_name,
        balanced.is_month_over,
        balanced.is_latest,
        -- measures
        balanced.movement_count,
        {{ cents('balanced.closing_arr - balanced.moved_arr') }} as opening_arr,
        {% for type in movement_types %}
            {{ cents('balanced.' ~ type ~ '_arr') }} as {{ type }}_arr,
        {% endfor %}
        {{ cents('balanced.closing_arr') }} as closing_arr,
        -- dates
        balanced.last_day,
        -- provenance
        accounts.source_system
    from balanced
    inner join accounts on balanced.account_id = accounts.account_id
    where balanced.movement_count > 0 or balanced.closing_arr <> 0
)

select * from final
