{#-
    The ledger is appended to alone, so that models that are built at once never refuse each other's commits. What is
    not to count any more goes before the first model, by one writer: entries of batches that the lake does not have, and
    with `as_of` those of the models that are built. Then its many small files become few.
-#}
{% macro prune_ledger() %}
    {%- set ledger = meta_table('consumed_batches') -%}
    {%- set models = [] -%}
    {%- for node_id in selected_resources -%}
        {%- do models.append(node_id.split('.') | last) -%}
    {%- endfor -%}
    {%- set stays -%}
        batch_id in (select lake_batches.batch_id from {{ meta_table('lake_batches') }} as lake_batches)
        {%- if var('as_of', none) is not none %}
        and model not in ('{{ models | join("', '") }}')
        {%- endif %}
    {%- endset -%}
    {%- set stale = 'select 1 from ' ~ ledger ~ ' where not (' ~ stays ~ ') limit 1' -%}
    {%- if has_many_files(ledger) or run_query(stale).rows -%}
        insert overwrite {{ ledger }}
        select model, parent, batch_id
        from {{ ledger }}
        where {{ stays }}
        group by model, parent, batch_id;
    {%- endif %}

    {% set builds = meta_table('built_models') -%}
    {%- if has_many_files(builds) -%}
        insert overwrite {{ builds }}
        select *
        from {{ last_builds(builds) }} as last_builds;
    {%- endif %}
{% endmacro %}


{% macro has_many_files(relation) %}
    {%- do return(run_query('select count(*) from ' ~ relation ~ '.files').rows[0][0] > 100) -%}
{% endmacro %}


{#- Relation of the last build of each model: each adds a row with the next number. -#}
{% macro last_builds(builds) %}
    {%- set rows -%}
        (
            select numbered.*
            from {{ builds }} as numbered
            inner join (
                select model, max(build_number) as build_number
                from {{ builds }}
                group by model
            ) as newest
                on numbered.model = newest.model and numbered.build_number = newest.build_number
        )
    {%- endset -%}
    {%- do return(rows) -%}
{% endmacro %}
