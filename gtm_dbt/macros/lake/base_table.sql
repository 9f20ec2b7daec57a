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
    {%- set batches = [] -%}
    {%- if execute -%}
        {%- do columns.extend(raw_columns(source_name, table_name) | map(attribute='name')) -%}
        {%- do meta.update(raw_table(source_name, table_name).config.meta) -%}
        {%- do batches.extend(batches_to_read(source_name, table_name, after_late_batch='all')) -%}
    {%- endif -%}
    {%- set builds_on_itself = is_incremental() -%}
{%- if builds_on_itself and not batches -%}
-- No batch has come.
select {{ columns | join(', ') }}
from {{ this }}
where 1 = 0
{%- else -%}
    {%- set ranking = ['id', meta.cursor, meta.deletes, '_version_hash', '_partition_key', '_batch_id'] | unique | join(', ') -%}
    {#- Where all of the lake is read it is read again for each step: to keep all of it in memory costs more. -#}
    {%- set is_kept = builds_on_itself or not execute or is_external(source_name) -%}
    {%- set candidates = 'candidates' if is_kept else '(' ~ lake_versions(source_name, table_name, batches) ~ ') as candidates' -%}
with

{% if is_kept %}
incoming as (
    {{ lake_versions(source_name, table_name, batches) }}
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
{% endif %}

-- Most records have one version. Only the others are compared, by the columns that decide.
repeated as (
    select id
    from {{ candidates }}
    group by id
    having count(*) > 1
),

sightings as (
    select
        {{ ranking }},
        row_number() over (partition by _version_hash order by _partition_key, _batch_id) as _sighting,
        count(*) over (partition by id, _version_hash, _batch_id) as _copies
    from {{ candidates }}
    where exists (select 1 from repeated where repeated.id = candidates.id)
),

ranked as (
    select
        {{ ranking }},
        _copies,
        row_number() over (
            partition by id
            order by {{ newest_first(meta.cursor, meta.deletes) }}
        ) as _recency
    from sightings
    where _sighting = 1
),

newest as (
    select
        id as newest_id,
        _version_hash as newest_hash,
        _batch_id as newest_batch,
        _copies
    from ranked
    where _recency = 1
),

-- A version may lie in its batch more than once, or be here already.
copies as (
    select
        candidates.*,
        row_number() over (partition by id order by _partition_key) as _copy
    from {{ candidates }}
    inner join newest
        on
            candidates._version_hash = newest.newest_hash
            and candidates._batch_id = newest.newest_batch
            and candidates.id = newest.newest_id
    where newest._copies > 1
),

final as (
    select {{ columns | join(', ') }}
    from {{ candidates }}
    left join newest on candidates.id = newest.newest_id
    where
        newest.newest_id is null
        or (
            newest._copies = 1
            and candidates._version_hash = newest.newest_hash
            and candidates._batch_id = newest.newest_batch
        )
    union all
    select {{ columns | join(', ') }}
    from copies
    where _copy = 1
)

select * from final
{%- endif -%}
{% endmacro %}


{#- The order that puts the newest version of a record first, with the rule for ties. -#}
{% macro newest_first(cursor, delete_mark) -%}
    {{ cursor }} desc, _partition_key desc, coalesce({{ delete_mark }}, false) desc, _version_hash desc
{%- endmacro %}
