{#- Spark takes any word for a column's name; it lists those that the standard reserves. -#}
{% macro spark__reserved_words() %}
    {%- set query = 'select lower(keyword) from sql_keywords() where reserved' -%}
    {%- do return(run_query(query).columns[0].values() | list) -%}
{% endmacro %}


{#- Iceberg's catalogue has no table of columns: each table is asked for its own. -#}
{% macro spark__built_columns_query(models) %}
    {%- set built = [] -%}
    {%- for node in models -%}
        {%- set relation = adapter.get_relation(none, node.schema, node.alias) -%}
        {%- set columns = [] -%}
        {%- for column in (adapter.get_columns_in_relation(relation) if relation is not none else []) -%}
            {%- do columns.append(column.name ~ ' ' ~ our_type(column) | replace(' ', '')) -%}
        {%- endfor -%}
        {%- if columns -%}
            {%- do built.append("('" ~ node.name ~ "', '" ~ columns | join('|') ~ "')") -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if built -%}
        {%- do return('select * from values ' ~ built | join(', ')) -%}
    {%- endif -%}
    {%- do return("select '' as model, '' as columns where 1 = 0") -%}
{% endmacro %}


{% macro spark__types_of_rows(rows) %}
    {%- set types = {} -%}
    {%- for row in run_query('describe query select * from ' ~ rows ~ ' as found').rows -%}
        {%- do types.update({row[0]: spark_type_names().get(row[1], row[1])}) -%}
    {%- endfor -%}
    {%- do return(types) -%}
{% endmacro %}


{#-
    What there is in a schema, as dbt's adapter reads it: schema, name, whether it is temporary, and a text in which it
    looks for two words. dbt's own does not find views of Iceberg's catalogue, and describes each table to learn the rest.
-#}
{% macro spark__list_relations_without_caching(schema_relation) %}
    {%- set found = {} -%}
    {%- for kind in ['tables', 'views'] -%}
        {%- for row in run_query('show ' ~ kind ~ ' in ' ~ schema_relation.schema).rows if not row[2] -%}
            {%- set type = 'MANAGED' if kind == 'tables' else 'VIEW' -%}
            {%- do found.update({row[1]: [schema_relation.schema, row[1], false, 'Type: ' ~ type ~ '\nProvider: iceberg']}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do return(found.values() | list) -%}
{% endmacro %}
