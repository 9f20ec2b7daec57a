with

versions as (
    {{ lake_versions('salesforce', 'contact') }}
),

renamed as (
    select
        -- keys
        id as contact_id,
        {{ salesforce_contact_columns() }},
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
