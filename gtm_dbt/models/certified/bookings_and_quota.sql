with

attainment as (
    select * from {{ ref('rep_quota_attainment') }}
),

owners as (
    select * from {{ ref('dim_user') }}
),

final as (
    select
        -- keys
        attainment.quota_attainment_key,
        attainment.owner_user_id,
        -- what it is
        attainment.owner_name,
        attainment.manager_name,
        owners.division,
        attainment.period_name,
        attainment.period_type,
        attainment.is_period_over,
        -- measures
        attainment.quota_amount,
        attainment.bookings_count,
        attainment.bookings_amount,
        attainment.team_bookings_amount,
        attainment.attainment,
        attainment.team_attainment,
        attainment.gap_amount,
        -- dates
        attainment.period_start_date,
        attainment.period_end_date,
        -- provenance
        attainment.source_system
    from attainment
    left join owners on attainment.owner_user_key = owners.user_key
)

select * from final
