-- Of each period, start and movements add up to the end, to the last decimal and in each group: of owners, of
-- segments, of teams at any depth, of what is due and what is not, and in all. So do the opportunities, by the
-- rows that list them.
{{ config(meta={'dagster': {'ref': {'name': 'rep_pipeline_waterfall'}}}) }}

{%- set movements = [] -%}
{%- for movement in pipeline_movements() -%}
    {%- do movements.append('waterfall.' ~ movement_column(movement)) -%}
{%- endfor -%}
{%- set groups = {
    'owner': 'waterfall.owner_user_key',
    'segment': 'waterfall.segment',
    'due': 'cast(waterfall.is_due as integer)',
    'source': 'waterfall.source_system',
} %}

with

waterfall as (
    select * from {{ ref('rep_pipeline_waterfall') }}
),

teams as (
    select * from {{ ref('int_user_teams') }}
),

accounts as (
    select * from {{ ref('dim_account_scd2') }}
),

sums as (
    {% for kind, value in groups.items() %}
        select
            '{{ kind }}' as kind,
            cast({{ value }} as {{ engine_type('varchar') }}) as which,
            waterfall.pipeline_period_key,
            sum(waterfall.start_amount) as start_amount,
            sum({{ movements | join(' + ') }}) as movements_amount,
            sum(waterfall.end_amount) as end_amount,
            sum(waterfall.start_count) as start_count,
            sum(waterfall.end_count) as end_count
        from waterfall
        group by {{ value }}, waterfall.pipeline_period_key
        union all
    {% endfor %}
    select
        'team' as kind,
        teams.manager_user_key as which,
        waterfall.pipeline_period_key,
        sum(waterfall.start_amount) as start_amount,
        sum({{ movements | join(' + ') }}) as movements_amount,
        sum(waterfall.end_amount) as end_amount,
        sum(waterfall.start_count) as start_count,
        sum(waterfall.end_count) as end_count
    from waterfall
    inner join teams on waterfall.owner_user_key = teams.member_user_key
    group by teams.manager_user_key, waterfall.pipeline_period_key
),

listed_rows as (
    select
        movements.*,
        accounts.segment
    from {{ ref('fct_pipeline_movement') }} as movements
    left join accounts on movements.account_key = accounts.account_key
),

listed as (
    {% for kind, value in groups.items() %}
        select
            '{{ kind }}' as kind,
            cast({{ value | replace('waterfall.', 'listed_rows.') }} as {{ engine_type('varchar') }}) as which,
            listed_rows.pipeline_period_key,
            sum(listed_rows.amount) as listed_amount,
            sum(listed_rows.opportunity_count) as listed_count
        from listed_rows
        group by {{ value | replace('waterfall.', 'listed_rows.') }}, listed_rows.pipeline_period_key
        union all
    {% endfor %}
    select
        'team' as kind,
        teams.manager_user_key as which,
        listed_rows.pipeline_period_key,
        sum(listed_rows.amount) as listed_amount,
        sum(listed_rows.opportunity_count) as listed_count
    from listed_rows
    inner join teams on listed_rows.owner_user_key = teams.member_user_key
    group by teams.manager_user_key, listed_rows.pipeline_period_key
)

select
    sums.*,
    listed.listed_amount,
    listed.listed_count
from sums
left join listed
    on
        sums.pipeline_period_key = listed.pipeline_period_key
        and sums.kind = listed.kind
        and coalesce(sums.which, '') = coalesce(listed.which, '')
where
    sums.start_amount + sums.movements_amount <> sums.end_amount
    or sums.movements_amount <> coalesce(listed.listed_amount, 0)
    or sums.start_count + coalesce(listed.listed_count, 0) <> sums.end_count
