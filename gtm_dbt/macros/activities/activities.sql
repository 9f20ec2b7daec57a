{#- What tasks, events and emails have in common: which of them are rebuilt, and the keys that they point to. -#}


{#-
    Selects the ids that an incremental build has to rebuild: activities that changed, those whose account's history
    changed, and those whose owner or contact appeared or disappeared.

    activities: the CTE of all activities as they are now, with account_id and _batch_id. id: their id. base: the model
    that brings them. has_contact: false for activities without a contact.
    It reads the CTEs account_changes, users and contacts.
-#}
{% macro touched_activities(activities, id, base, has_contact=true) %}
    select {{ activities }}.{{ id }}
    from {{ activities }}
    where
        {{ activities }}._batch_id in ({{ unconsumed_batches(base) }})
        or {{ activities }}.account_id in (
            select account_changes.account_id
            from account_changes
            where account_changes._batch_id in ({{ unconsumed_batches('dim_account_scd2') }})
        )
        or {{ has_late_batch(base) }}
    union
    select built.{{ id }}
    from {{ this }} as built
    left join users on built.owner_user_id = users.user_id
    where (users.user_id is null) <> (built.owner_user_key = {{ unknown_key() }})
    {%- if has_contact %}
    union
    select built.{{ id }}
    from {{ this }} as built
    left join contacts on built.contact_id = contacts.contact_id
    where (contacts.contact_id is null) <> (built.contact_key = {{ unknown_key() }})
    {%- endif %}
{%- endmacro %}


{#- The duration of an event in minutes: as the source says, or else from its start to its end. -#}
{% macro event_minutes(events) -%}
    coalesce(
        {{ events }}.duration_in_minutes,
        cast({{ dbt.datediff(events ~ '.started_at', events ~ '.ended_at', 'minute') }} as bigint)
    )
{%- endmacro %}
