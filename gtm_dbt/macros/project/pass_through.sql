{#-
    Columns that a team passes through: extra columns of a raw table, named in the var `pass_through_columns`,
    which come along through staging into the table of core that the object becomes.

        pass_through_columns:
          opportunity: [my_field_c, {name: my_score_c, data_type: double}]

    A column is text unless it says its type. What is no column is left to check_pass_through.
-#}
{% macro pass_through_columns(source_name, table_name) %}
    {%- set columns = {} -%}
    {%- if source_name == 'salesforce' and var('pass_through_columns', none) is mapping -%}
        {%- for given in listed(var('pass_through_columns').get(table_name)) -%}
            {%- set column = given_column(given) -%}
            {%- if column is not none -%}
                {%- do columns.update({column.name: column}) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- do return(columns.values() | list) -%}
{% endmacro %}


{#- A given list; of anything else an empty one. -#}
{% macro listed(given) %}
    {%- do return(given if given is sequence and given is not string and given is not mapping else []) -%}
{% endmacro %}


{#- An entry of such a list as a column with name and data_type; none where it is no column. -#}
{% macro given_column(given) %}
    {%- set name = given.get('name') if given is mapping else given -%}
    {%- if name is not string or not name -%}
        {%- do return(none) -%}
    {%- endif -%}
    {%- set data_type = (given.get('data_type') if given is mapping) or 'varchar' -%}
    {%- do return({'name': name | lower, 'data_type': data_type | string | lower | replace(', ', ',')}) -%}
{% endmacro %}


{#-
    Before the first model: what the var pass_through_columns names is looked up, and all that is wrong with it is
    one error, a sentence each.
-#}
{% macro check_pass_through() %}
    {%- if not execute -%}
        {%- do return('') -%}
    {%- endif -%}
    {%- set given = var('pass_through_columns', none) or {} -%}
    {%- set faults = [] -%}
    {%- if given is not mapping -%}
        {%- do faults.append('is ' ~ given ~ ', which names no object: write it like opportunity: [my_field_c]') -%}
    {%- else -%}
        {%- for object, columns in given.items() -%}
            {%- do faults.extend(pass_through_faults(object, columns)) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if faults -%}
        {%- set lines = ['the var pass_through_columns can not be followed, so nothing was built. Mend it in dbt_project.yml:'] -%}
        {%- for fault in faults -%}
            {%- do lines.append('pass_through_columns ' ~ fault) -%}
        {%- endfor -%}
        {%- do exceptions.raise_compiler_error(lines | join('\n')) -%}
    {%- endif -%}
{% endmacro %}


{#- What is wrong with the columns that the var gives for an object. -#}
{% macro pass_through_faults(object, columns) %}
    {%- set targets = pass_through_targets().values() | list -%}
    {%- set faults = [] -%}
    {%- if object not in targets -%}
        {%- set meant = fivetran_name(object | string) -%}
        {%- if meant in targets -%}
            {%- do return(['names ' ~ object ~ ' by its name in Salesforce: write ' ~ meant]) -%}
        {%- endif -%}
        {%- do return([
            'names ' ~ object ~ ', of which no table of core is made: name one of ' ~ targets | sort | join(', ')
        ]) -%}
    {%- endif -%}
    {%- if listed(columns) != columns -%}
        {%- do return([
            'names ' ~ object ~ ' with ' ~ columns ~ ', which is no list: write it like ' ~ object ~ ': [my_field_c]'
        ]) -%}
    {%- endif -%}
    {%- set catalogue = raw_table('salesforce', object).columns -%}
    {%- set times = {} -%}
    {%- set sought = [] -%}
    {%- for entry in columns -%}
        {%- set column = given_column(entry) -%}
        {%- if column is none -%}
            {%- do faults.append(
                'names ' ~ object ~ ' with ' ~ entry
                ~ ', which is no column: write its name, or {name: my_field_c, data_type: double}'
            ) -%}
        {%- else -%}
            {%- set given_name = entry.get('name') if entry is mapping else entry -%}
            {%- set name = fivetran_name(given_name) -%}
            {%- set place = object ~ '.' ~ given_name -%}
            {%- set unknown_keys = entry.keys() | reject('in', ['name', 'data_type']) | list if entry is mapping else [] -%}
            {%- do times.update({name: times.get(name, 0) + 1}) -%}
            {%- if unknown_keys -%}
                {%- do faults.append(
                    'gives ' ~ place ~ ' the key ' ~ unknown_keys | join(', ')
                    ~ ', which says nothing: a column has the keys name and data_type'
                ) -%}
            {%- endif -%}
            {%- if column.data_type not in raw_data_types() -%}
                {%- do faults.append(
                    'gives ' ~ place ~ ' the data_type ' ~ column.data_type ~ ', which no raw column has: write one of '
                    ~ raw_data_types() | join(', ')
                ) -%}
            {%- endif -%}
            {%- if times[name] > 1 -%}
                {%- if times[name] == 2 -%}
                    {%- do faults.append('names ' ~ object ~ '.' ~ name ~ ' more than once: leave one of them') -%}
                {%- endif -%}
            {%- elif name in catalogue -%}
                {%- do faults.append(
                    'names ' ~ place ~ ', which is in the catalogue' ~ (' as ' ~ name if name != given_name else '')
                    ~ ': leave it out, and select it in the models where they lack it'
                ) -%}
            {%- elif name != column.name -%}
                {%- do faults.append('names ' ~ place ~ ' by its name in Salesforce: write ' ~ name) -%}
            {%- elif models_with_name(object, name) -%}
                {%- set others = models_with_name(object, name) -%}
                {%- do faults.append(
                    'names ' ~ place ~ ', a name that ' ~ others | join(' and ') ~ (' gives' if others | length == 1 else ' give')
                    ~ ' to something else: leave it out, or let the source call it otherwise'
                ) -%}
            {%- elif column.data_type in raw_data_types() -%}
                {%- do sought.append(column) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(faults + (faults_in_external(object, sought) if is_external() else faults_in_lake(object, sought))) -%}
{% endmacro %}


{#- The types that raw columns have. -#}
{% macro raw_data_types() %}
    {%- set types = [] -%}
    {%- for node in graph.sources.values() if node.source_name == 'salesforce' -%}
        {%- do types.extend(node.columns.values() | map(attribute='data_type') | map('lower')) -%}
    {%- endfor -%}
    {%- do return(types | unique | sort) -%}
{% endmacro %}


{#-
    The models through which an object's columns pass and in which a name stands for something already: a column that
    they describe, or a word of their SQL. There the column would take the place of what is computed, or the other
    way round.
-#}
{% macro models_with_name(object, name) %}
    {%- set re = modules.re -%}
    {%- set models = ['stg_salesforce__' ~ object] -%}
    {%- for model_name, target_object in pass_through_targets().items() if target_object == object -%}
        {%- do models.append(model_name) -%}
    {%- endfor -%}
    {#- Other sources' columns too: the union has one column of a name. What their SQL calls so does not matter. -#}
    {%- set others = [] -%}
    {%- for source_name in var('sources_of').get(object, []) -%}
        {%- do (models if source_name == 'salesforce' else others).append('int_' ~ object ~ '__' ~ source_name) -%}
    {%- endfor -%}
    {%- set found = [] -%}
    {%- if name == '_partition_key' -%}
        {%- do found.append('the loader') -%}
    {%- endif -%}
    {%- if name in reserved_words() -%}
        {%- do found.append('SQL') -%}
    {%- endif -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name in models -%}
        {%- set sql = re.sub("(?s)\\{#.*?#\\}|--[^\n]*|'[^']*'", ' ', node.raw_code) -%}
        {%- if name in node.columns or re.search('\\b' ~ name ~ '\\b', sql) -%}
            {%- do found.append(node.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name in others -%}
        {%- if name in node.columns -%}
            {%- do found.append(node.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(found | sort) -%}
{% endmacro %}


{#- The words of SQL that name no column unless they are quoted. -#}
{% macro reserved_words() %}
    {%- do return(adapter.dispatch('reserved_words', 'gtm_dbt')()) -%}
{% endmacro %}


{#- What is wrong with columns that are looked for in the external database. A table that is missing counts as empty. -#}
{% macro faults_in_external(object, columns) %}
    {%- set external = external_table('salesforce', object) if columns else {} -%}
    {%- if not columns or external.relation is none -%}
        {%- do return([]) -%}
    {%- endif -%}
    {%- set faults = [] -%}
    {%- for column in columns -%}
        {%- set own = external.columns.get(column.name) -%}
        {%- if own is none -%}
            {%- set others = [] -%}
            {%- for name in external.unknown -%}
                {%- do others.append(fivetran_name(name)) -%}
            {%- endfor -%}
            {%- do faults.append(missing_column(object, column, 'the external table ' ~ external.relation.identifier, others)) -%}
        {%- else -%}
            {%- set value = 'found.' ~ adapter.quote(own.name) -%}
            {%- set id = 'found.' ~ adapter.quote(external.columns.id.name) -%}
            {%- do faults.extend(type_faults(object, column, own.data_type, external.relation, value, id)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(faults) -%}
{% endmacro %}


{#-
    What is wrong with columns that are looked for in the lake: one that no batch of a table with records has, or
    whose values in the batches that base is to read are of another type.
-#}
{% macro faults_in_lake(object, columns) %}
    {%- set batches = batches_for_base(object, columns) if columns else [] -%}
    {%- if not batches -%}
        {%- do return([]) -%}
    {%- endif -%}
    {%- set rows = read_batches('salesforce', object, batches) -%}
    {%- set found = types_of_rows(rows) -%}
    {%- set faults = [] -%}
    {%- for column in columns -%}
        {%- if column.name in found -%}
            {%- do faults.extend(type_faults(object, column, found[column.name], rows, 'found.' ~ column.name, 'found.id')) -%}
        {%- elif run_query('select count(*) from ' ~ rows ~ ' as found').rows[0][0] and not has_values(object, column.name) -%}
            {%- set known = raw_columns('salesforce', object) | map(attribute='name') | list -%}
            {%- do faults.append(missing_column(
                object, column, 'the lake', found.keys() | reject('in', known) | list
            )) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(faults) -%}
{% endmacro %}


{#- The types of the columns of a relation of batches, {name: type}. -#}
{% macro types_of_rows(rows) %}
    {%- do return(adapter.dispatch('types_of_rows', 'gtm_dbt')(rows)) -%}
{% endmacro %}


{% macro missing_column(object, column, place, others) %}
    {%- do return(
        'names ' ~ object ~ '.' ~ column.name ~ ', which ' ~ place ~ ' lacks: '
        ~ ('name one of those that it has beside the catalogue (' ~ others | sort | join(', ') ~ '), or leave it out'
            if others else 'leave it out until it is there; it has no column beside the catalogue')
    ) -%}
{% endmacro %}


{#- Whether values of a column are none of the type that the var gives it. -#}
{% macro type_faults(object, column, found_type, rows, value, id) %}
    {%- set misfits = external_misfits(value, found_type, column.data_type) -%}
    {%- if not misfits or found_type == column.data_type -%}
        {%- do return([]) -%}
    {%- endif -%}
    {%- set query -%}
        select
            count(*) over (),
            {{ id }},
            cast({{ value }} as {{ engine_type('varchar') }})
        from {{ rows }} as found
        where ({{ misfits.unreadable }}) or ({{ misfits.inexact }})
        order by {{ id }}
        limit 1
    {%- endset -%}
    {%- set found = run_query(query).rows -%}
    {%- if not found -%}
        {%- do return([]) -%}
    {%- endif -%}
    {%- set counted = found[0] -%}
    {%- set fitting = found_type if found_type in raw_data_types() else 'varchar' -%}
    {%- do return([
        'gives ' ~ object ~ '.' ~ column.name ~ ' the data_type ' ~ column.data_type ~ ', which '
        ~ counted[0] | int ~ ' of its values are not, such as ' ~ counted[2] ~ ' of ' ~ counted[1]
        ~ ': write data_type: ' ~ fitting ~ ', or another that they are'
    ]) -%}
{% endmacro %}


{#-
    The batches whose columns are looked at: those that base has not consumed; all of them where base is built afresh,
    or has no value of one of the columns yet, so that nothing says that the source has it.
-#}
{% macro batches_for_base(object, columns) %}
    {%- set unseen = [] -%}
    {%- for column in columns if flags.FULL_REFRESH or not has_values(object, column.name, column.data_type) -%}
        {%- do unseen.append(column) -%}
    {%- endfor -%}
    {%- set query -%}
        select batch_id, file_path
        from {{ meta_table('lake_batches') }}
        where
            source_name = 'salesforce'
            and table_name = '{{ object }}'
        {%- if not unseen %}
            and batch_id not in (
                select consumed.batch_id
                from {{ meta_table('consumed_batches', staging_database()) }} as consumed
                where consumed.model = 'base_salesforce__{{ object }}'
            )
        {%- endif %}
        order by partition_key, batch_id
    {%- endset -%}
    {%- do return(listed_batches(query)) -%}
{% endmacro %}


{#- Whether base holds a value of an object's column, in that type where one is given. -#}
{% macro has_values(object, column_name, data_type=none) %}
    {%- set base = adapter.get_relation(staging_database(), schema_named('gtm_staging'), 'base_salesforce__' ~ object) -%}
    {%- if base is none -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- for column in adapter.get_columns_in_relation(base) if column.name == column_name -%}
        {%- if data_type is none or our_type(column) | lower | replace(' ', '') == data_type | replace(' ', '') -%}
            {%- do return(run_query('select count(' ~ column_name ~ ') from ' ~ base).rows[0][0] > 0) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(false) -%}
{% endmacro %}


{#- For `gtm doctor`, on a warehouse of its own: what is wrong with the var is an error. -#}
{% macro examine_pass_through() %}
    {%- do run_query(list_lake()) -%}
    {%- do check_pass_through() -%}
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


{#-
    The columns that a model, by default this one, passes through: one of Salesforce's staging, of what feeds core from
    it, or of core.
-#}
{% macro model_pass_through_columns(node=none) %}
    {%- set name = (node or model).name -%}
    {%- if name.startswith('stg_salesforce__') -%}
        {%- set object = name | replace('stg_salesforce__', '') -%}
    {%- elif name.startswith('int_') and name.endswith('__salesforce') -%}
        {%- set object = name[4:] | replace('__salesforce', '') -%}
    {%- else -%}
        {%- set object = pass_through_targets().get(name) -%}
    {%- endif -%}
    {%- do return(pass_through_columns('salesforce', object)) -%}
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


{#- The columns that a model, by default this one, is to have: those of its yml, and those that it passes through. -#}
{% macro contracted_columns(node=none) %}
    {%- do return(((node or model).columns.values() | list) + model_pass_through_columns(node)) -%}
{% endmacro %}


{#-
    Pre-hook: the contract holds for the columns that are passed through too, and for types as the engine names them.

    This leans on a detail of dbt that no documentation promises: a materialization asserts the contract, and makes a
    table's columns, by `model.columns` as it is after the pre-hooks. A dbt that read the contract before would refuse
    each column that is passed through; test_what_is_passed_through_is_in_the_contract_by_the_pre_hook_alone would then fail.
-#}
{% macro extend_contract() %}
    {%- if execute -%}
        {%- for column in model_pass_through_columns() -%}
            {%- do model.columns.update({column.name: dict(column, constraints=[], quote=none)}) -%}
        {%- endfor -%}
        {%- for name, column in model.columns.items() | list if engine_type(column.data_type) != column.data_type -%}
            {%- do model.columns.update({name: dict(column, data_type=engine_type(column.data_type))}) -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
