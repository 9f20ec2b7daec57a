-- At both ends of each period, the pipeline of an owner is that of fct_pipeline_snapshot, in amount and number.
-- The end of a period is the start of the next one of its kind.
{{ config(meta={'dagster': {'ref': {'name': 'rep_pipeline_waterfall'}}}) }}

with

waterfall as (
    select * from {{ ref('rep_pipeline_waterfall') }}
),

periods as (
    select * from {{ ref('int_pipeline_periods') }}
),

ends as (
    select
        pipeline_period_key,
        'start' as which,
        opening_day as date_day
    from periods
    union all
    select
        pipeline_period_key,
        'end' as which,
        closing_day as date_day
    from periods
),

reported as (
    select
        pipeline_period_key,
        'start' as which,
        owner_user_key,
        source_system,
        sum(start_amount) as amount,
        sum(start_count) as opportunity_count
    from waterfall
    group by pipeline_period_key, owner_user_key, source_system
    union all
    select
        pipeline_period_key,
        'end' as which,
        owner_user_key,
        source_system,
        sum(end_amount) as amount,
        sum(end_count) as opportunity_count
    from waterfall
    group by pipeline_period_key, owner_user_key, source_system
),

snapshots as (
    select
        ends.pipeline_period_key,
        ends.which,
        snapshots.owner_user_key,
        snapshots.source_system,
        sum(snapshots.amount) as amount,
        sum(snapshots.opportunity_count) as opportunity_count
    from ends
    inner join {{ ref('fct_pipeline_snapshot') }} as snapshots on ends.date_day = snapshots.date_day
    group by ends.pipeline_period_key, ends.which, snapshots.owner_user_key, snapshots.source_system
),

keys as (
    select
        pipeline_period_key,
        which,
        owner_user_key,
        source_system
    from reported
    union
    select
        pipeline_period_key,
        which,
        owner_user_key,
        source_system
    from snapshots
),

differences as (
    select
        keys.pipeline_period_key,
        keys.which,
        keys.owner_user_key,
        reported.amount,
        snapshots.amount as amount_of_snapshot
    from keys
    left join reported
        on
            keys.pipeline_period_key = reported.pipeline_period_key
            and keys.which = reported.which
            and keys.owner_user_key = reported.owner_user_key
            and keys.source_system = reported.source_system
    left join snapshots
        on
            keys.pipeline_period_key = snapshots.pipeline_period_key
            and keys.which = snapshots.which
            and keys.owner_user_key = snapshots.owner_user_key
            and keys.source_system = snapshots.source_system
    where
        coalesce(reported.amount, 0) <> coalesce(snapshots.amount, 0)
        or coalesce(reported.opportunity_count, 0) <> coalesce(snapshots.opportunity_count, 0)
),

followed as (
    select
        pipeline_period_key,
        closing_day,
        lead(opening_day) over (partition by period_type order by period_start_date) as next_opening_day
    from periods
),

gaps as (
    select
        pipeline_period_key,
        'next' as which,
        cast(null as {{ engine_type('varchar') }}) as owner_user_key,
        cast(null as decimal(38, 6)) as amount,
        cast(null as decimal(38, 6)) as amount_of_snapshot
    from followed
    where next_opening_day is not null and next_opening_day <> closing_day
)

select * from differences
union all
select * from gaps
