with

forecasting_items as (
    select * from {{ ref('base_salesforce__forecasting_item') }}
),

renamed as (
    select
        -- keys
        id as forecasting_item_id,
        owner_id as owner_user_id,
        period_id,
        forecasting_type_id,
        parent_forecasting_item_id,
        -- what it is
        forecast_category_name,
        forecasting_item_category as forecast_category,
        has_adjustment,
        currency_iso_code,
        -- measures
        forecast_amount,
        amount_without_adjustments,
        owner_only_amount,
        forecast_quantity,
        -- dates
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from forecasting_items
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
