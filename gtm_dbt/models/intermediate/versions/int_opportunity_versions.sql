with

versions as (
    {{ lake_versions('salesforce', 'opportunity') }}
),

renamed as (
    select
        -- keys
        id as opportunity_id,
        {{ salesforce_opportunity_columns() }},
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
