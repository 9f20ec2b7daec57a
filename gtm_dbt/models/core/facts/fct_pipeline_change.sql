{#-
    What may happen to an opportunity between the ends of two days, each as a row, in the order in which it counts:
    the former owner hands over what there was, then the amount changes, then the close date, then the rate of the
    close date, and last the opportunity leaves the pipeline.
-#}
{%- set former = 'states.previous_amount' -%}
{%- set at_former_rate = 'states.amount_at_former_rate' -%}
{%- set passes = 'states.was_pipeline and states.is_transferred' -%}
{%- set moves = 'states.was_pipeline and states.date_moved is not null' -%}
{%- set changes = [
    {
        'movement': 'states.entered_as', 'when': 'states.entered_as is not null',
        'owner': 'states.owner_user_key', 'close_date': 'states.close_date',
        'amount': 'states.amount_on_day', 'count': 1,
    },
    {
        'movement': "'Transferred out'", 'when': passes,
        'owner': 'states.previous_owner_user_key', 'close_date': 'states.previous_close_date',
        'amount': '-' ~ former, 'count': -1,
    },
    {
        'movement': "'Transferred in'", 'when': passes,
        'owner': 'states.owner_user_key', 'close_date': 'states.previous_close_date',
        'amount': former, 'count': 1,
    },
    {
        'movement': "case when " ~ at_former_rate ~ " > " ~ former ~ " then 'Increased' else 'Decreased' end",
        'when': 'states.was_pipeline and ' ~ at_former_rate ~ ' <> ' ~ former,
        'owner': 'states.owner_user_key', 'close_date': 'states.previous_close_date',
        'amount': at_former_rate ~ ' - ' ~ former, 'count': 0,
    },
    {
        'movement': 'states.date_moved', 'when': moves,
        'owner': 'states.owner_user_key', 'close_date': 'states.previous_close_date',
        'amount': '-' ~ at_former_rate, 'count': -1,
    },
    {
        'movement': 'states.date_moved', 'when': moves,
        'owner': 'states.owner_user_key', 'close_date': 'states.close_date',
        'amount': at_former_rate, 'count': 1,
    },
    {
        'movement': "'Revalued'", 'when': 'states.was_pipeline and states.amount_on_day <> ' ~ at_former_rate,
        'owner': 'states.owner_user_key', 'close_date': 'states.close_date',
        'amount': 'states.amount_on_day - ' ~ at_former_rate, 'count': 0,
    },
    {
        'movement': 'states.left_as', 'when': 'states.left_as is not null',
        'owner': 'states.owner_user_key', 'close_date': 'states.close_date',
        'amount': '-states.amount_on_day', 'count': -1,
    },
] -%}

{{ amounts_add_up() }}

with

deals_by_day as (
    select * from {{ ref('int_opportunity_days') }}
),

accounts_of_deals as (
    select * from {{ ref('int_opportunity_accounts') }}
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

bounds as (
    select
        min(date_day) as first_day,
        max({{ to_reporting_date(as_of()) }}) as last_day
    from deals_by_day
),

compared as (
    select
        *,
        lag(date_day) over days_of_opportunity as previous_day,
        lag(is_open_pipeline) over days_of_opportunity as was_open_pipeline,
        lag(is_closed) over days_of_opportunity as was_closed,
        lag(owner_user_key) over days_of_opportunity as previous_owner_user_key,
        lag(amount_converted) over days_of_opportunity as previous_amount_converted,
        lag(close_date) over days_of_opportunity as previous_close_date,
        lead(date_day) over days_of_opportunity as next_day
    from deals_by_day
    window days_of_opportunity as (partition by opportunity_id order by date_day)
),

-- What was pipeline at the end of the day before, and what was first seen on the day of its creation.
followed as (
    select
        *,
        coalesce(was_open_pipeline and previous_day = date_day - 1, false) as was_pipeline,
        coalesce(previous_day is null and created_date >= date_day, false) as is_created
    from compared
),

-- An amount changes by the rate of the close date that it had: what another rate brings is Revalued.
states as (
    select
        followed.opportunity_id,
        followed.date_day,
        followed.owner_user_key,
        followed.previous_owner_user_key,
        followed.close_date,
        followed.previous_close_date,
        followed.was_pipeline,
        followed.owner_user_key <> followed.previous_owner_user_key as is_transferred,
        followed.source_system,
        coalesce(followed.amount_converted, 0) as amount_on_day,
        coalesce(followed.previous_amount_converted, 0) as previous_amount,
        coalesce(
            {{ converted('followed.amount', 'followed.currency_iso_code', 'rates.rate') }}, 0
        ) as amount_at_former_rate,
        case
            when
                followed.close_date < followed.previous_close_date
                or (followed.close_date is not null and followed.previous_close_date is null)
                then 'Pulled in'
            when
                followed.close_date > followed.previous_close_date
                or (followed.close_date is null and followed.previous_close_date is not null)
                then 'Pushed out'
        end as date_moved,
        -- What was there on the first day, and what was created and closed before it, is where all begins.
        case
            when followed.date_day = bounds.first_day or followed.was_pipeline then null
            when followed.is_created and (followed.is_open_pipeline or followed.is_closed) then 'Created'
            when not followed.is_open_pipeline then null
            when followed.previous_day is null then 'First seen'
            when followed.was_closed then 'Reopened'
            when followed.previous_day < followed.date_day - 1 then 'Restored'
            else 'Included'
        end as entered_as,
        case
            when followed.date_day = bounds.first_day or followed.is_open_pipeline then null
            when followed.is_closed and (followed.was_pipeline or followed.is_created)
                then case when followed.is_won then 'Won' else 'Lost' end
            when followed.was_pipeline then 'Omitted'
        end as left_as
    from followed
    cross join bounds
    left join rates
        on {{ rate_in_force('rates', 'followed.currency_iso_code', 'followed.previous_close_date') }}
),

changes as (
    {% for change in changes %}
        select
            states.opportunity_id,
            states.date_day,
            {{ change.movement }} as movement,
            {{ change.owner }} as owner_user_key,
            {{ change.close_date }} as close_date,
            {{ change.amount }} as amount,
            {{ change.count }} as opportunity_count,
            states.source_system
        from states
        where {{ change.when }}
        union all
    {% endfor %}
    -- A deleted opportunity has no day from then on.
    select
        compared.opportunity_id,
        compared.date_day + 1 as date_day,
        'Deleted' as movement,
        compared.owner_user_key,
        compared.close_date,
        -coalesce(compared.amount_converted, 0) as amount,
        -1 as opportunity_count,
        compared.source_system
    from compared
    cross join bounds
    where
        compared.is_open_pipeline
        and compared.date_day < bounds.last_day
        and coalesce(compared.next_day, bounds.last_day + 1) > compared.date_day + 1
),

final as (
    select
        -- keys
        {{
            surrogate_key([
                'changes.opportunity_id',
                date_key('changes.date_day'),
                'changes.movement',
                date_key('changes.close_date'),
            ])
        }} as pipeline_change_key,
        changes.opportunity_id,
        {{ date_key('changes.date_day') }} as date_key,
        {{ date_key('changes.close_date') }} as close_date_key,
        coalesce(accounts_of_deals.account_key, {{ unknown_key() }}) as account_key,
        changes.owner_user_key,
        -- what it is
        changes.movement,
        -- measures
        {{ total('changes.amount') }} as amount,
        changes.opportunity_count,
        -- dates
        changes.date_day,
        changes.close_date,
        -- provenance
        changes.source_system
    from changes
    left join accounts_of_deals on changes.opportunity_id = accounts_of_deals.opportunity_id
)

select * from final
