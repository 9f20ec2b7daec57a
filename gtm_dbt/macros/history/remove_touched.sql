{#-
    Pre-hook: what a table that builds on itself says of the records whose versions it has not consumed yet. It
    gives them afresh, and a row that a record no longer has would stay.
-#}
{% macro remove_touched(id, versions) %}
    {%- if execute and is_incremental() -%}
    delete from {{ this }}
    where {{ id }} in (
        select touched.{{ id }}
        from {{ versions }} as touched
        where touched._batch_id in ({{ unconsumed_batches(versions.identifier) }})
    )
    {%- endif -%}
{% endmacro %}
