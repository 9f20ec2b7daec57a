{#- Select of the rows that a model's table does not hold as they are; of all where it is built afresh. -#}
{% macro changed_rows(rows) %}
    {#- A unit test's model lists no columns. -#}
    {%- set columns = (model.columns.keys() | join(', ') if execute else '') or '*' -%}
    select {{ columns }}
    from {{ rows }}
    {%- if execute and is_incremental() %}
    except
    select {{ columns }}
    from {{ this }}
    {%- endif %}
{%- endmacro %}
