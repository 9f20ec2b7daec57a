{#- The words of SQL that name no column unless they are quoted. -#}
{% macro postgres__reserved_words() %}
    {%- set query = "select word from pg_get_keywords() where catcode in ('R', 'T')" -%}
    {%- do return(run_query(query).columns[0].values() | list) -%}
{% endmacro %}


{#- Types by the names that we give them. -#}
{% macro postgres__built_columns_query(models) %}
    {%- set query -%}
        select
            models.model,
            string_agg(columns.attname || ' ' || replace({{ type_of_attribute('columns') }}, ' ', ''), '|')
        from pg_attribute as columns
        inner join pg_class as relations on columns.attrelid = relations.oid
        inner join pg_namespace as schemas on relations.relnamespace = schemas.oid
        inner join (
            values
            {%- for node in models %}
            ('{{ node.name }}', '{{ node.schema }}', '{{ node.alias }}'){{ ',' if not loop.last }}
            {%- endfor %}
        ) as models (model, schema_name, table_name)
            on schemas.nspname = models.schema_name and relations.relname = models.table_name
        where columns.attnum > 0 and not columns.attisdropped
        group by models.model
    {%- endset -%}
    {%- do return(query) -%}
{% endmacro %}


{#- The type of a column by the name that we give it. attributes: alias of pg_attribute. -#}
{% macro type_of_attribute(attributes) -%}
    {%- set named = 'format_type(' ~ attributes ~ '.atttypid, ' ~ attributes ~ '.atttypmod)' -%}
    case {{ named }}
        {%- for theirs, ours in postgres_type_names().items() %}
        when '{{ theirs }}' then '{{ ours }}'
        {%- endfor %}
        else replace({{ named }}, 'numeric', 'decimal')
    end
{%- endmacro %}


{#- A view says the types of its columns. -#}
{% macro postgres__types_of_rows(rows) %}
    {%- do run_query('create temporary view gtm_rows as select * from ' ~ rows ~ ' as batches') -%}
    {%- set query -%}
        select columns.attname, {{ type_of_attribute('columns') }}
        from pg_attribute as columns
        where columns.attrelid = to_regclass('pg_temp.gtm_rows') and columns.attnum > 0
    {%- endset -%}
    {%- set types = {} -%}
    {%- for row in run_query(query).rows -%}
        {%- do types.update({row[0]: row[1]}) -%}
    {%- endfor -%}
    {%- do run_query('drop view pg_temp.gtm_rows') -%}
    {%- do return(types) -%}
{% endmacro %}
