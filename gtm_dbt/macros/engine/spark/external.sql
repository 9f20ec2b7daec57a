{#- External tables are read from a DuckDB file. -#}
{% macro spark__refuse_stale_inspection() %}
    {%- do exceptions.raise_compiler_error(
        'GTM_SALESFORCE_SOURCE=external reads a DuckDB file, which Spark can not: build with GTM_ENGINE=duckdb'
    ) -%}
{% endmacro %}


{% macro spark__external_database() %}
    {%- do spark__refuse_stale_inspection() -%}
{% endmacro %}


{#- As duckdb__external_misfits, for values of the lake: a column that the catalogue does not have is text in gtm_raw. -#}
{% macro spark__external_misfits(value, external_type, data_type) %}
    {%- if external_type == data_type or is_text(data_type) -%}
        {%- do return(none) -%}
    {%- endif -%}
    {%- set read = 'try_cast(' ~ value ~ ' as ' ~ engine_type(data_type) ~ ')' -%}
    {%- set inexact = 'false' -%}
    {%- if data_type == 'bigint' or is_decimal(data_type) -%}
        {%- set inexact = 'coalesce(' ~ read ~ ' <> try_cast(' ~ value ~ ' as decimal(38, 18)), false)' -%}
    {%- elif data_type == 'date' -%}
        {%- set inexact = 'coalesce(try_cast(' ~ value ~ ' as timestamp) <> try_cast(' ~ value ~ ' as date), false)' -%}
    {%- endif -%}
    {%- do return({'unreadable': value ~ ' is not null and ' ~ read ~ ' is null', 'inexact': inexact}) -%}
{% endmacro %}
