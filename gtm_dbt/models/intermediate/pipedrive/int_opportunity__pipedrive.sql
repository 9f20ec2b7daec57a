with

changes as (
    select * from {{ ref('stg_pipedrive__deal_changes') }}
    where deal_id is not null
),

stages as (
    select * from {{ ref('stg_pipedrive__stages') }}
),

stage_meanings as (
    select * from {{ ref('pipedrive_stages') }}
),

stage_entries as (
    select * from {{ ref('int_pipedrive_deal_stage_entries') }}
),

options as (
    {{ field_options(ref('stg_pipedrive__fields')) }}
),

parties as (
    select * from {{ ref('int_pipedrive_deal_parties') }}
),

accounts as (
    select * from {{ ref('int_account__pipedrive') }}
),

contacts as (
    select * from {{ ref('int_contact__pipedrive') }}
),

users as (
    select * from {{ ref('int_user__pipedrive') }}
),

-- The newest value of each field. A value that is not a number of a stage is ignored.
ranked as (
    select
        deal_id,
        changed_field_key,
        nullif(trim(new_value), '') as new_value,
        new_stage_id,
        new_user_id,
        changed_at,
        row_number() over (
            partition by deal_id, changed_field_key
            order by changed_at desc, deal_change_id desc
        ) as recency
    from changes
    where changed_field_key <> 'stage_id' or new_stage_id is not null
),

newest as (
    select
        deal_id,
        max(new_user_id) as user_id,
        max(case when changed_field_key = 'stage_id' then new_stage_id end) as stage_id,
        max(case when changed_field_key = 'stage_id' then changed_at end) as stage_changed_at,
        max(case when changed_field_key = 'lost_reason' then new_value end) as lost_reason,
        max(case when changed_field_key = 'lost_reason' and new_value is not null then changed_at end) as lost_at
    from ranked
    where recency = 1
    group by deal_id
),

-- Where a deal was added more than once, the first time counts.
creations as (
    select
        deal_id,
        coalesce(min(case when changed_field_key = 'add_time' then changed_at end), min(changed_at)) as created_at
    from changes
    group by deal_id
),

wins as (
    select
        deal_id,
        min(first_entered_at) as won_at
    from stage_entries
    where is_won_stage
    group by deal_id
),

-- Of the loss and the entry into a stage, the later one decides.
judged as (
    select
        creations.deal_id,
        creations.created_at,
        newest.user_id,
        newest.stage_id,
        newest.stage_changed_at,
        newest.lost_reason,
        newest.lost_at,
        wins.won_at,
        stages.stage_name,
        case
            when newest.lost_at >= coalesce(newest.stage_changed_at, newest.lost_at) then 'Lost'
            when stage_meanings.is_won then 'Won'
            else 'Open'
        end as deal_status
    from creations
    left join newest on creations.deal_id = newest.deal_id
    left join wins on creations.deal_id = wins.deal_id
    left join stages on newest.stage_id = stages.stage_id
    left join stage_meanings on newest.stage_id = stage_meanings.stage_id
),

-- A deal closes when it is lost, or when it first comes into a stage that is won.
dated as (
    select
        judged.*,
        {{ to_reporting_date('created_at') }} as created_date,
        {{ to_reporting_date("case deal_status when 'Lost' then lost_at when 'Won' then won_at end") }}
            as close_date
    from judged
),

final as (
    select
        -- keys
        {{ pipedrive_id('deals.deal_id') }} as opportunity_id,
        parties.pipedrive_account_id as account_id,
        accounts.account_id as resolved_account_id,
        {{ pipedrive_id('deals.user_id') }} as owner_user_id,
        users.user_id as resolved_owner_user_id,
        parties.pipedrive_contact_id as contact_id,
        contacts.contact_id as resolved_contact_id,
        -- what it is
        coalesce(deals.stage_name, cast(deals.stage_id as {{ engine_type('varchar') }})) as stage_name,
        case when deals.deal_status = 'Lost' then coalesce(options.option_label, deals.lost_reason) end
            as loss_reason,
        deals.deal_status = 'Won' as is_won,
        deals.deal_status in ('Won', 'Lost') as is_closed,
        -- measures
        cast({{ dbt.datediff('deals.created_date', 'deals.close_date', 'day') }} as bigint) as days_to_close,
        -- dates
        deals.created_at,
        deals.close_date,
        deals.stage_changed_at as last_stage_changed_at,
        -- provenance
        'pipedrive' as source_system
    from dated as deals
    left join options on deals.lost_reason = options.option_id and options.field_key = 'lost_reason'
    left join parties on deals.deal_id = parties.deal_id
    left join accounts on parties.pipedrive_account_id = accounts.source_account_id
    left join contacts on parties.pipedrive_contact_id = contacts.source_contact_id
    left join users on {{ pipedrive_id('deals.user_id') }} = users.source_user_id
)

select * from final
