{#-
    Post-hook: rows leave a table that builds on itself when what they were made from is gone.
    id: column with its id. kind: column that says which of the relations it is from.
    relations: {kind: (relation, its id)}.
-#}
{% macro remove_absent(id, kind, relations) %}
    {%- if execute and is_incremental() -%}
    delete from {{ this }}
    where
        {%- for name, (relation, relation_id) in relations.items() %}
        {{ 'or ' if not loop.first }}(
            {{ kind }} = '{{ name }}'
            and {{ id }} not in (select {{ relation_id }} from {{ relation }} as present)
        )
        {%- endfor %}
    {%- endif -%}
{% endmacro %}
