{#-
    Overrides dbt's: a model is also built afresh where building on what is there would be wrong.
    With `as_of`, because what is there knows more than was known then. With other columns than the table
    has, because old rows would lack what a full refresh gives them. In external mode, where nothing tells which
    rows are new, and as long as the model was built from external tables, be it by way of another model. And where the
    model, or one that it is built from, has consumed batches of a source that is off: its rows are to go.

    Asked several times while a model is compiled, and while it is built: the first answer holds.
-#}
{% macro should_full_refresh() %}
    {%- if config.get('full_refresh') is not none -%}
        {%- do return(config.get('full_refresh')) -%}
    {%- endif -%}
    {%- if not execute -%}
        {%- do return(flags.FULL_REFRESH) -%}
    {%- endif -%}
    {%- if 'is_built_afresh' not in model -%}
        {%- do model.update(is_built_afresh=(
            flags.FULL_REFRESH
            or var('as_of', none) is not none
            or is_external()
            or was_built_from_external()
            or was_built_from_source_off()
            or columns_have_changed()
        )) -%}
    {%- endif -%}
    {%- do return(model.is_built_afresh) -%}
{% endmacro %}


{#- True where this model has consumed rows of external tables. A ledger of an older release calls their batch landing. -#}
{% macro was_built_from_external() %}
    {%- if not execute or model.resource_type != 'model' or model.config.materialized != 'incremental' -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- if adapter.get_relation(target.database, 'gtm_meta', 'consumed_batches') is none -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- set query -%}
        select count(*)
        from {{ meta_table('consumed_batches') }}
        where model = '{{ model.name }}' and batch_id in ('{{ external_batch() }}', 'landing')
    {%- endset -%}
    {%- do return(run_query(query).rows[0][0] > 0) -%}
{% endmacro %}


{#- True where this model holds the rows of batches that the list of the lake leaves out, their source being off. -#}
{% macro was_built_from_source_off() %}
    {%- if not sources_off() or not execute or model.resource_type != 'model' or model.config.materialized != 'incremental' -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- if adapter.get_relation(target.database, 'gtm_meta', 'consumed_batches') is none -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- set query -%}
        select count(*)
        from {{ meta_table('consumed_batches') }} as consumed
        where
            consumed.model = '{{ model.name }}'
            and (
                {%- for source_name in sources_off() %}
                consumed.parent like '{{ source_name }}.%'
                or consumed.parent like 'base_{{ source_name }}@_@_%' escape '@'
                {%- if not loop.last %}
                or
                {%- endif %}
                {%- endfor %}
            )
    {%- endset -%}
    {%- do return(run_query(query).rows[0][0] > 0) -%}
{% endmacro %}


{#- True where the built table's columns or types are not those that the model is to have. -#}
{% macro columns_have_changed() %}
    {%- if not execute or model.resource_type != 'model' or model.config.materialized != 'incremental' -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- set built = load_cached_relation(this) -%}
    {%- if built is none -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- if model.config.contract.enforced -%}
        {%- set columns = contracted_columns() -%}
    {%- else -%}
        {%- set columns = raw_columns(*model.sources[0]) -%}
    {%- endif -%}
    {%- set wanted = [] -%}
    {%- for column in columns -%}
        {%- do wanted.append(column.name ~ ' ' ~ (column.data_type | replace(' ', '') | lower)) -%}
    {%- endfor -%}
    {%- set found = [] -%}
    {%- for column in adapter.get_columns_in_relation(built) -%}
        {%- do found.append(column.name ~ ' ' ~ (column.dtype | replace(' ', '') | lower)) -%}
    {%- endfor -%}
    {%- do return((wanted | sort) != (found | sort)) -%}
{% endmacro %}
