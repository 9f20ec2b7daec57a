with

versions as (
    {{ lake_versions('salesforce', 'forecasting_item') }}
),

renamed as (
    select
        -- keys
        id as forecasting_item_id,
        owner_id as owner_user_id,
        period_id,
        forecasting_type_id,
        -- what it is
        forecasting_item_category as forecast_category,
        forecast_category_name,
        currency_iso_code,
        -- measures
        forecast_amount,
        -- dates
        system_modstamp,
        -- provenance
        coalesce(_fivetran_deleted, false) as is_deleted,
        _partition_key,
        _batch_id,
        _known_at,
        _version_hash
    from versions
),

final as (
    {{ first_sightings('renamed') }}
)

select * from final
