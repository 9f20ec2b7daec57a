{#-
    Post-hook: a company that only Pipedrive had leaves the history once Salesforce has it too, or no deal has it.
-#}
{% macro remove_matched_accounts(matches) %}
    {%- if execute and is_incremental() -%}
    delete from {{ this }}
    where
        source_system = 'pipedrive'
        and account_id not in (
            select matches.pipedrive_account_id
            from {{ matches }} as matches
            where matches.salesforce_account_id is null
        )
    {%- endif -%}
{% endmacro %}
