{#- For sqlfluff, which knows neither the graph nor the lake: what the macros that ask them stand for. -#}

{% macro base_table(source_name, table_name) %}
select 1 as id
{% endmacro %}

{% macro lake_versions(source_name, table_name) %}
    select * from {{ source_name }}.{{ table_name }}
{% endmacro %}

{% macro first_sightings(versions) %}
    select * from {{ versions }}
{% endmacro %}

{% macro with_unknown_member(rows, values) %}
    select * from {{ rows }}
{% endmacro %}

{% macro scd_type_2(versions, id, tracked, carried) %}
    select * from {{ versions }}
{% endmacro %}

{% macro rebuilt_versions(versions, changes, stages) %}
    select {{ versions }}.* from {{ versions }}
    where exists (select 1 from {{ changes }}) and exists (select 1 from {{ stages }})
{% endmacro %}

{% macro first_versions(versions) %}
    select * from {{ versions }}
{% endmacro %}

{% macro values_by_history(instants, changes) %}
    select {{ instants }}.* from {{ instants }}
    where exists (select 1 from {{ changes }})
{% endmacro %}

{% macro value_by_history(column) -%}
values_by_history.{{ column }}
{%- endmacro %}

{% macro decimal_number(text) -%}
cast({{ text }} as decimal(24, 6))
{%- endmacro %}

{% macro written_date(text) -%}
cast({{ text }} as date)
{%- endmacro %}

{% macro tracked_columns() %}{% endmacro %}

{% macro meta_table(name) %}gtm_meta.{{ name }}{% endmacro %}

{% macro unconsumed_batches(parent) %}
select batch_id from gtm_meta.lake_batches
{% endmacro %}

{% macro has_late_batch(parent) %}
false
{% endmacro %}

{% macro date_spine(first_day, last_day) %}
    select {{ first_day }} as date_day
{% endmacro %}

{% macro field_options(fields) %}
    select field_key from {{ fields }}
{% endmacro %}

{% macro rows_and_gone(rows, gone) %}
    select {{ rows }}.* from {{ rows }}
    where not exists (select 1 from {{ gone }})
{% endmacro %}

{% macro union_of_sources(entity, without=[]) %}
    select * from int_{{ entity }}
{% endmacro %}

{% macro engine_type(data_type) -%}
{{ data_type }}
{%- endmacro %}

{% macro read_batches(source_name, table_name, batches, columns=[]) %}
{{ source_name }}.{{ table_name }}
{% endmacro %}
