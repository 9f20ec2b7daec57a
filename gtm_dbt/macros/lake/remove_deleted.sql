{#- Post-hook: a record that has been deleted leaves a table that builds on itself. -#}
{% macro remove_deleted(id, base, delete_mark) %}
    {%- if execute and is_incremental() -%}
    delete from {{ this }}
    where {{ id }} in (select deleted.id from {{ base }} as deleted where deleted.{{ delete_mark }})
    {%- endif -%}
{% endmacro %}
