{#-
    Selects one version per record and time. Of several with an equal time it takes the one that base would keep;
    delete marks are versions too.

    versions: relation with all versions of the records, one row each, with system_modstamp, is_deleted, _partition_key
    and _version_hash. id: the record's id.
-#}
{% macro one_at_a_time(versions, id) %}
    select ranked.*
    from (
        select
            {{ versions }}.*,
            row_number() over (
                partition by {{ id }}, system_modstamp
                order by {{ newest_first('system_modstamp', 'is_deleted') }}
            ) as _rank_in_time
        from {{ versions }}
    ) as ranked
    where ranked._rank_in_time = 1
{%- endmacro %}
