{#-
    Selects each version once, as the earliest partition brought it. It reads `versions` and, in an incremental build,
    those rows of the model's table that came again.
-#}
{% macro first_sightings(versions) %}
    {%- set columns = model.columns.keys() | join(', ') if execute else '*' -%}
    select {{ columns }}
    from (
        select
            sightings.*,
            row_number() over (partition by _version_hash order by _partition_key, _batch_id) as _sighting
        from (
            select {{ columns }}
            from {{ versions }}
            {%- if is_incremental() %}
            union all
            select {{ columns }}
            from {{ this }}
            where _version_hash in (select {{ versions }}._version_hash from {{ versions }})
            {%- endif %}
        ) as sightings
    ) as ranked
    where _sighting = 1
{%- endmacro %}
