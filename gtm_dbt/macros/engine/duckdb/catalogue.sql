{% macro duckdb__reserved_words() %}
    {%- set query = "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'" -%}
    {%- do return(run_query(query).columns[0].values() | list) -%}
{% endmacro %}


{% macro duckdb__built_columns_query(models) %}
    {%- set query -%}
        select
            models.model,
            string_agg(columns.column_name || ' ' || replace(lower(columns.data_type), ' ', ''), '|')
        from duckdb_columns() as columns
        inner join (
            values
            {%- for node in models %}
            ('{{ node.name }}', '{{ node.database }}', '{{ node.schema }}', '{{ node.alias }}'){{ ',' if not loop.last }}
            {%- endfor %}
        ) as models (model, database_name, schema_name, table_name)
            on
                columns.database_name = models.database_name
                and columns.schema_name = models.schema_name
                and columns.table_name = models.table_name
        group by models.model
    {%- endset -%}
    {%- do return(query) -%}
{% endmacro %}


{% macro duckdb__types_of_rows(rows) %}
    {%- set types = {} -%}
    {%- for row in run_query('describe select * from ' ~ rows).rows -%}
        {%- do types.update({row[0]: row[1] | lower}) -%}
    {%- endfor -%}
    {%- do return(types) -%}
{% endmacro %}
