{#-
    Annual recurring revenue. The var `arr` names the columns of fct_opportunity that hold it, and the types of
    opportunities that are renewals:

        arr: {gain: arr_c, loss: arr_churn_c, opening: arr_c, renewal_types: [Renewal]}
-#}


{#- A column that the var names, as an amount of core: gain, loss or opening. -#}
{% macro arr_column(part) -%}
    cast({{ var('arr')[part] }} as {{ amount_type() }})
{%- endmacro %}


{#- Condition: the type of the opportunity is one of the renewals. -#}
{% macro is_renewal(opportunity_type) -%}
    coalesce({{ opportunity_type }} in ({% for type in var('arr')['renewal_types'] %}'{{ type | replace("'", "''") }}'{{ ', ' if not loop.last }}{% endfor %}), false)
{%- endmacro %}


{#- Whether versions of opportunities have a column: those that are passed through are known as they are now alone. -#}
{% macro is_versioned(column_name) %}
    {%- do return(column_name not in pass_through_columns('salesforce', 'opportunity') | map(attribute='name')) -%}
{% endmacro %}


{#- Before the first model: what the var arr names is looked up, and all that is wrong with it is one error, a sentence each. -#}
{% macro check_arr() %}
    {%- if not execute -%}
        {%- do return('') -%}
    {%- endif -%}
    {%- set faults = arr_faults(var('arr', none)) -%}
    {%- if faults -%}
        {%- set lines = ['the var arr can not be followed, so nothing was built. Mend it in dbt_project.yml:'] -%}
        {%- for fault in faults -%}
            {%- do lines.append('arr ' ~ fault) -%}
        {%- endfor -%}
        {%- do exceptions.raise_compiler_error(lines | join('\n')) -%}
    {%- endif -%}
{% endmacro %}


{% macro arr_faults(given) %}
    {%- set parts = ['gain', 'loss', 'opening'] -%}
    {%- set keys = parts + ['renewal_types'] -%}
    {%- if given is not mapping -%}
        {%- do return([
            'is ' ~ given ~ ', which names no columns: write it like '
            ~ '{gain: arr_c, loss: arr_churn_c, opening: arr_c, renewal_types: [Renewal]}'
        ]) -%}
    {%- endif -%}
    {%- set faults = [] -%}
    {%- for key in given if key not in keys -%}
        {%- do faults.append('has the key ' ~ key ~ ', which says nothing: its keys are ' ~ keys | join(', ')) -%}
    {%- endfor -%}
    {%- for part in parts -%}
        {%- set name = given.get(part) -%}
        {%- set columns = arr_candidates(part) -%}
        {%- if not name -%}
            {%- do faults.append('lacks ' ~ part ~ ': name the column of fct_opportunity that holds it') -%}
        {%- elif name not in columns -%}
            {%- do faults.append(
                'names ' ~ name ~ ' as ' ~ part ~ ', which is no amount that opportunities have: name one of '
                ~ columns | sort | join(', ') ~ ', or let the var pass_through_columns bring it along'
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set types = given.get('renewal_types') -%}
    {%- if listed(types) != types or listed(types) | reject('string') | list or not types -%}
        {%- do faults.append('gives renewal_types as ' ~ types ~ ', which is no list of types: write it like [Renewal]') -%}
    {%- endif -%}
    {%- do return(faults) -%}
{% endmacro %}


{#- The amounts of fct_opportunity, passed through or not; as opening those alone of which versions are kept, or passed through. -#}
{% macro arr_candidates(part) %}
    {%- set models = {} -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' -%}
        {%- do models.update({node.name: node}) -%}
    {%- endfor -%}
    {%- set found = [] -%}
    {%- for column in contracted_columns(models.fct_opportunity) -%}
        {%- if column.data_type.startswith(('decimal', 'double'))
            and (part != 'opening' or column.name in models.int_opportunity_versions.columns or not is_versioned(column.name))
            and column.name not in ('probability', 'win_probability') -%}
            {%- do found.append(column.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(found) -%}
{% endmacro %}
