-- The fact holds the emails that staging holds, no more and no less.
{{ config(meta={'dagster': {'ref': {'name': 'fct_email_message'}}}) }}

with

email_messages as (
    select * from {{ ref('fct_email_message') }}
),

staged as (
    select * from {{ ref('stg_salesforce__email_message') }}
)

select
    email_messages.email_message_id,
    staged.email_message_id as staged_email_message_id
from email_messages
full outer join staged on email_messages.email_message_id = staged.email_message_id
where
    email_messages.email_message_id is null
    or staged.email_message_id is null
    or email_messages.message_at is distinct from staged.message_at
    or email_messages.open_count is distinct from staged.open_count_c
    or email_messages.click_count is distinct from staged.click_count_c
    or email_messages.related_to_id is distinct from staged.related_to_id
