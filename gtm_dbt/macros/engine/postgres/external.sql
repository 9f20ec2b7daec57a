{#- External tables are read from a DuckDB file. -#}
{% macro postgres__refuse_stale_inspection() %}
    {%- do exceptions.raise_compiler_error(
        'GTM_SALESFORCE_SOURCE=external reads a DuckDB file, which PostgreSQL can not: build with GTM_ENGINE=duckdb'
    ) -%}
{% endmacro %}


{% macro postgres__external_database() %}
    {%- do postgres__refuse_stale_inspection() -%}
{% endmacro %}


{#-
    As duckdb__external_misfits, for values of the lake: a column that the catalogue does not have is text in gtm_raw.
    The function is made before the first model.
-#}
{% macro postgres__external_misfits(value, external_type, data_type) %}
    {%- if external_type == data_type or is_text(data_type) -%}
        {%- do return(none) -%}
    {%- endif -%}
    {%- set fits = meta_table('fits') ~ '(' ~ value ~ ", '" ~ engine_type(data_type) ~ "')" -%}
    {%- set inexact = 'false' -%}
    {%- if data_type == 'bigint' or is_decimal(data_type) -%}
        {%- set inexact = 'case when ' ~ fits ~ ' then cast(' ~ value ~ ' as numeric) <> cast(' ~ value ~ ' as ' ~ data_type ~ ') end' -%}
    {%- elif data_type == 'date' -%}
        {%- set inexact = 'case when ' ~ fits ~ ' then cast(' ~ value ~ ' as timestamp) <> cast(' ~ value ~ ' as date) end' -%}
    {%- endif -%}
    {%- do return({'unreadable': value ~ ' is not null and not ' ~ fits, 'inexact': inexact}) -%}
{% endmacro %}
