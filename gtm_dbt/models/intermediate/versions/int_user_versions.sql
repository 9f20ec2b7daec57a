with

versions as (
    {{ lake_versions('salesforce', 'user') }}
),

renamed as (
    select
        -- keys
        id as user_id,
        {{ salesforce_user_columns() }},
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
