with

periods as (
    select * from {{ ref('stg_salesforce__period') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'period_id']) }} as period_key,
        period_id,
        -- what it is
        fully_qualified_label as period_name,
        period_label,
        quarter_label,
        period_type,
        period_number,
        coalesce(is_forecast_period, false) as is_forecast_period,
        -- dates
        start_date,
        end_date,
        -- provenance
        'salesforce' as source_system{{ pass_through() }}
    from periods
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'period_key': unknown_key(),
            'period_id': unknown_key(),
            'period_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
