-- What one owner hands over another takes, and what leaves one close date comes to another: of each opportunity
-- and day, both sides come to nothing. An exchange rate counts only where the close date moved, and each movement
-- has its sign.
{{ config(meta={'dagster': {'ref': {'name': 'fct_pipeline_change'}}}) }}

with

changes as (
    select
        *,
        case
            when movement in ('Transferred in', 'Transferred out') then 'Transferred'
            when movement in ('Pulled in', 'Pushed out') then 'Moved'
        end as two_sided
    from {{ ref('fct_pipeline_change') }}
),

moved as (
    select
        opportunity_id,
        date_day
    from changes
    where two_sided = 'Moved'
    group by opportunity_id, date_day
),

one_sided as (
    select
        opportunity_id,
        date_day,
        two_sided as movement
    from changes
    where two_sided is not null
    group by opportunity_id, date_day, two_sided
    having sum(amount) <> 0 or sum(opportunity_count) <> 0 or count(*) <> 2
),

revalued as (
    select
        changes.opportunity_id,
        changes.date_day,
        changes.movement
    from changes
    left join moved on changes.opportunity_id = moved.opportunity_id and changes.date_day = moved.date_day
    where changes.movement = 'Revalued' and moved.opportunity_id is null
),

of_the_wrong_sign as (
    select
        opportunity_id,
        date_day,
        movement
    from changes
    where
        (movement = 'Increased' and amount <= 0)
        or (movement = 'Decreased' and amount >= 0)
        or (
            movement in ('Created', 'First seen', 'Reopened', 'Restored', 'Included', 'Transferred in')
            and opportunity_count <> 1
        )
        or (
            movement in ('Won', 'Lost', 'Omitted', 'Deleted', 'Transferred out')
            and opportunity_count <> -1
        )
)

select * from one_sided
union all
select * from revalued
union all
select * from of_the_wrong_sign
