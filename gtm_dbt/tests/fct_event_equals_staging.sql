-- The fact holds the events that staging holds, no more and no less.
{{ config(meta={'dagster': {'ref': {'name': 'fct_event'}}}) }}

with

events as (
    select * from {{ ref('fct_event') }}
),

staged as (
    select * from {{ ref('stg_salesforce__event') }}
)

select
    events.event_id,
    staged.event_id as staged_event_id
from events
full outer join staged on events.event_id = staged.event_id
where
    events.event_id is null
    or staged.event_id is null
    or events.owner_user_id is distinct from staged.owner_user_id
    or events.started_at is distinct from staged.started_at
    or events.duration_minutes is distinct from {{ event_minutes('staged') }}
