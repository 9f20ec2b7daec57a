{#-
    Select of the rows that a model's table does not hold as they are; of all where it is built afresh. A row that
    came twice stays two: its key's test finds them.
-#}
{% macro changed_rows(rows) %}
    {#- A unit test's model lists no columns. -#}
    {%- set columns = (model.columns.keys() | list if execute else []) or ['*'] -%}
    select {{ columns | join(', ') }}
    from {{ rows }}
    {%- if execute and is_incremental() %}
    where not exists (
        select 1
        from {{ this }} as built
        where
            {%- for column in columns %}
            {{ 'and ' if not loop.first }}built.{{ column }} is not distinct from {{ rows }}.{{ column }}
            {%- endfor %}
    )
    {%- endif %}
{%- endmacro %}
