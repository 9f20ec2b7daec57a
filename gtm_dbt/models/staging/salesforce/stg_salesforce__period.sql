with

periods as (
    select * from {{ ref('base_salesforce__period') }}
),

renamed as (
    select
        -- keys
        id as period_id,
        fiscal_year_settings_id,
        -- what it is
        type as period_type,
        period_label,
        quarter_label,
        fully_qualified_label,
        is_forecast_period,
        -- measures
        number as period_number,
        -- dates
        start_date,
        end_date,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from periods
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
