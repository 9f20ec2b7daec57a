{#-
    The newest version of each record of a raw table, tombstones included.

    The newest version has the greatest cursor. Ties are broken by the later partition, then by the delete mark, then by
    the greater content hash. A version belongs to the partition in which it first came, so the order of arrival does
    not matter. Where a batch arrives late, behind one already consumed, all batches are read, because only all of them
    together tell in which partition a version first came.
-#}
{% macro base_table(source_name, table_name) %}
    {%- set columns = [] -%}
    {%- set meta = {} -%}
    {%- set files = [] -%}
    {%- if execute -%}
        {%- do columns.extend(raw_columns(source_name, table_name) | map(attribute='name')) -%}
        {%- do meta.update(raw_table(source_name, table_name).config.meta) -%}
        {%- do files.extend(files_to_read(source_name, table_name, after_late_batch='all')) -%}
    {%- endif -%}
    {%- set builds_on_itself = is_incremental() -%}
{%- if builds_on_itself and not files -%}
-- No batch has come.
select {{ columns | join(', ') }}
from {{ this }}
where 1 = 0
{%- else -%}
with

incoming as (
    {{ lake_versions(source_name, table_name, files) }}
),

candidates as (
    select {{ columns | join(', ') }}
    from incoming
    {%- if builds_on_itself %}
    union all
    select {{ columns | join(', ') }}
    from {{ this }}
    where id in (select incoming.id from incoming)
    {%- endif %}
),

-- Most records have one version. Only the others are compared.
repeated as (
    select id
    from candidates
    group by id
    having count(*) > 1
),

sightings as (
    select
        {{ columns | join(', ') }},
        row_number() over (partition by _version_hash order by _partition, _batch_id) as _sighting
    from candidates
    where exists (select 1 from repeated where repeated.id = candidates.id)
),

ranked as (
    select
        {{ columns | join(', ') }},
        row_number() over (
            partition by id
            order by {{ newest_first(meta.cursor, meta.deletes) }}
        ) as _recency
    from sightings
    where _sighting = 1
),

final as (
    select {{ columns | join(', ') }}
    from ranked
    where _recency = 1
    union all
    select {{ columns | join(', ') }}
    from candidates
    where not exists (select 1 from repeated where repeated.id = candidates.id)
)

select * from final
{%- endif -%}
{% endmacro %}


{#- The order that puts the newest version of a record first, with the rule for ties. -#}
{% macro newest_first(cursor, delete_mark) -%}
    {{ cursor }} desc, _partition desc, coalesce({{ delete_mark }}, false) desc, _version_hash desc
{%- endmacro %}
