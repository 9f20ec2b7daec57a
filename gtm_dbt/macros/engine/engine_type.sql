{#-
    A column's type by the name that the engine has for it. The yml, the catalogue and the models name types as DuckDB
    does: varchar, integer, bigint, double, decimal(p, s), boolean, date, timestamp with time zone. A name that is the
    engine's already remains.
-#}
{% macro engine_type(data_type) -%}
    {%- do return(adapter.dispatch('engine_types', 'gtm_dbt')().get(data_type | lower, data_type)) -%}
{%- endmacro %}


{#- The type of a column that the engine has, by our name. -#}
{% macro our_type(column) -%}
    {%- do return(adapter.dispatch('our_type', 'gtm_dbt')(column)) -%}
{%- endmacro %}
