{#-
    Columns that a team passes through: extra columns of a raw table, named in the var `pass_through_columns`,
    which come along through staging into the table of core that the object becomes.

        pass_through_columns:
          opportunity: [my_field_c, {name: my_score_c, data_type: double}]

    A column is text unless it says its type.
-#}
{% macro pass_through_columns(source_name, table_name) %}
    {%- set columns = [] -%}
    {%- if source_name == 'salesforce' -%}
        {%- for given in (var('pass_through_columns', none) or {}).get(table_name, []) -%}
            {%- set column = {'name': given, 'data_type': 'varchar'} if given is string else given -%}
            {%- do columns.append({'name': column.name | lower, 'data_type': column.get('data_type', 'varchar') | lower}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- do return(columns) -%}
{% endmacro %}


{#- Before the first model: what the var names must be objects, and columns that the catalogue does not have. -#}
{% macro check_pass_through() %}
    {%- for object in var('pass_through_columns', none) or {} -%}
        {%- if object not in pass_through_targets().values() -%}
            {%- do exceptions.raise_compiler_error(
                'pass_through_columns names ' ~ object ~ ', of which no table of core is made. Those are: '
                ~ pass_through_targets().values() | sort | join(', ')
            ) -%}
        {%- endif -%}
        {%- for column in pass_through_columns('salesforce', object) if column.name in raw_table('salesforce', object).columns -%}
            {%- do exceptions.raise_compiler_error(
                'pass_through_columns names ' ~ object ~ '.' ~ column.name
                ~ ', which is in the catalogue: select it in staging and core'
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
{% endmacro %}


{#- Which table of core an object of Salesforce becomes: there its columns are passed through. -#}
{% macro pass_through_targets() %}
    {%- do return({
        'dim_account': 'account',
        'dim_campaign': 'campaign',
        'dim_contact': 'contact',
        'dim_forecasting_period': 'period',
        'dim_lead': 'lead',
        'dim_product': 'product_2',
        'dim_user': 'user',
        'fct_campaign_influence': 'campaign_influence',
        'fct_campaign_member': 'campaign_member',
        'fct_email_message': 'email_message',
        'fct_event': 'event',
        'fct_forecasting_item': 'forecasting_item',
        'fct_forecasting_quota': 'forecasting_quota',
        'fct_opportunity': 'opportunity',
        'fct_opportunity_contact_role': 'opportunity_contact_role',
        'fct_opportunity_field_history': 'opportunity_field_history',
        'fct_opportunity_line_item': 'opportunity_line_item',
        'fct_task': 'task',
    }) -%}
{% endmacro %}


{#- The columns that this model passes through. -#}
{% macro model_pass_through_columns() %}
    {%- if model.name.startswith('stg_salesforce__') -%}
        {%- do return(pass_through_columns('salesforce', model.name | replace('stg_salesforce__', ''))) -%}
    {%- endif -%}
    {%- do return(pass_through_columns('salesforce', pass_through_targets().get(model.name))) -%}
{% endmacro %}


{#- At the end of a select: the columns that this model passes through. -#}
{% macro pass_through(alias=none) -%}
    {%- if execute -%}
        {%- for column in model_pass_through_columns() -%}
        ,
        {{ alias ~ '.' if alias }}{{ column.name }}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{#- The same of another source, which lacks them. -#}
{% macro pass_through_nulls() -%}
    {%- if execute -%}
        {%- for column in model_pass_through_columns() -%}
        ,
        cast(null as {{ column.data_type }}) as {{ column.name }}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{#- The columns that the model is to have: those of its yml, and those that it passes through. -#}
{% macro contracted_columns() %}
    {%- do return((model.columns.values() | list) + model_pass_through_columns()) -%}
{% endmacro %}


{#- Pre-hook: the contract holds for the columns that are passed through too. dbt reads it off `model`. -#}
{% macro extend_contract() %}
    {%- if execute -%}
        {%- for column in model_pass_through_columns() -%}
            {%- do model.columns.update({column.name: dict(column, constraints=[], quote=none)}) -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
