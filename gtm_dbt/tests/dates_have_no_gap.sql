-- Between the first and the last day of 1990 to 2099 that dim_date has, every day is there.
{{ config(meta={'dagster': {'ref': {'name': 'dim_date'}}}) }}

with

days as (
    select
        date_day,
        lag(date_day) over (order by date_day) as previous_day
    from {{ ref('dim_date') }}
    where date_day between cast('1990-01-01' as date) and cast('2099-12-31' as date)
)

select
    date_day,
    previous_day
from days
where {{ dbt.datediff('previous_day', 'date_day', 'day') }} <> 1
