{#-
    How sources feed core. Each source that has an entity gives its records in a model of its own,
    int_<entity>__<source>, and core reads their union. The var sources_of says which sources an entity has.
-#}


{#- The sources of an entity, in the order of the var sources_of. -#}
{% macro sources_of(entity) %}
    {%- set sources = var('sources_of').get(entity) -%}
    {%- if not sources -%}
        {%- do exceptions.raise_compiler_error(
            'the var sources_of names no source of ' ~ entity ~ ': name those that have a model int_' ~ entity ~ '__<source>'
        ) -%}
    {%- endif -%}
    {%- do return(sources) -%}
{% endmacro %}


{#-
    Select of an entity's records of all sources that are on, by the names of their columns. A column that a source
    does not have is null there, of the type that it has elsewhere. Columns are those of the models' yml, which their
    contracts hold to the SQL.

    without: sources whose records are left out. Their columns are there all the same, as are those of a source that
    is off.
-#}
{% macro union_of_sources(entity, without=[]) %}
    {%- set relations = {} -%}
    {%- for source_name in sources_of(entity) -%}
        {#- dbt learns here what the model is built from, so every source is named, on or off. -#}
        {%- do relations.update({source_name: ref('int_' ~ entity ~ '__' ~ source_name)}) -%}
    {%- endfor -%}
    {%- if execute -%}
        {%- set own = {} -%}
        {%- for source_name in relations -%}
            {%- do own.update({source_name: columns_from(entity, source_name)}) -%}
        {%- endfor -%}
        {%- set columns = columns_of_all(entity, own) -%}
        {#- A unit test gives the records of all sources. -#}
        {%- set off = sources_off() if graph.nodes else [] -%}
        {%- set included = relations.keys() | reject('in', off + without) | list -%}
        {%- for source_name in included %}
    {{ 'union all' if not loop.first }}
    select
            {%- for name, data_type in columns.items() %}
        {{ name if name in own[source_name] else 'cast(null as ' ~ engine_type(data_type) ~ ') as ' ~ name }}
            {{- ',' if not loop.last }}
            {%- endfor %}
    from {{ relations[source_name] }} as {{ source_name }}_records
        {%- else %}
    select
            {%- for name, data_type in columns.items() %}
        cast(null as {{ engine_type(data_type) }}) as {{ name }}{{ ',' if not loop.last }}
            {%- endfor %}
    where 1 = 0
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}


{#-
    The columns, {name: type}, of the model by which a source feeds an entity; those that are passed through too. A unit
    test knows no other model's yml: there they are those of what is built, as the columns of its rows are.
-#}
{% macro columns_from(entity, source_name) %}
    {%- set model_name = 'int_' ~ entity ~ '__' ~ source_name -%}
    {%- set columns = {} -%}
    {%- if graph.nodes -%}
        {%- for column in contracted_columns(graph.nodes['model.' ~ project_name ~ '.' ~ model_name]) -%}
            {%- do columns.update({column.name: column.data_type}) -%}
        {%- endfor -%}
    {%- else -%}
        {%- set built = adapter.get_relation(staging_database(), schema_named('gtm_intermediate'), model_name) -%}
        {%- for column in adapter.get_columns_in_relation(built) -%}
            {%- do columns.update({column.name: our_type(column)}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- do return(columns) -%}
{% endmacro %}


{#- All columns that sources have, {source: {name: type}}. Where two give a column different types, that is an error. -#}
{% macro columns_of_all(entity, columns_by_source) %}
    {%- set found = {} -%}
    {%- set given_by = {} -%}
    {%- for source_name, columns in columns_by_source.items() -%}
        {%- for name, data_type in columns.items() -%}
            {%- if name not in found -%}
                {%- do found.update({name: data_type}) -%}
                {%- do given_by.update({name: source_name}) -%}
            {%- elif found[name] | lower | replace(' ', '') != data_type | lower | replace(' ', '') -%}
                {%- do exceptions.raise_compiler_error(
                    'int_' ~ entity ~ '__' ~ source_name ~ '.' ~ name ~ ' is ' ~ data_type ~ ', and in int_' ~ entity ~ '__'
                    ~ given_by[name] ~ ' it is ' ~ found[name] ~ ': cast it to one type in both, or name what differs by another name'
                ) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do return(found) -%}
{% endmacro %}
