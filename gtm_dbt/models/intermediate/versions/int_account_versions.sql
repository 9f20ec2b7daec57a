with

versions as (
    {{ lake_versions('salesforce', 'account') }}
),

renamed as (
    select
        -- keys
        id as account_id,
        {{ salesforce_account_columns() }},
        {{ annual_revenue_band('annual_revenue') }} as annual_revenue_band,
        -- provenance
        coalesce(is_deleted, false) as is_deleted,
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
