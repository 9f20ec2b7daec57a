{#- What tasks, events and emails have in common: what makes one be built again, and what it points to. -#}


{#-
    Select of the ids to be built again, where the model builds on itself: own changes, accounts whose history
    changed, and owners and contacts that have come or gone.

    activities: CTE of all of them as they are, with account_id and _batch_id. id: their id. base: model that
    brings them. has_contact: false where they know no contact.
    Reads the CTEs account_changes, users and contacts.
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


{#- Key of the entity with an id that was looked up; the unknown member's where it was not found. -#}
{% macro key_if_found(id) -%}
    case
        when {{ id }} is null then {{ unknown_key() }}
        else {{ surrogate_key(["'salesforce'", id]) }}
    end
{%- endmacro %}


{#- Minutes that an event takes: as the source says, else from its start to its end. -#}
{% macro event_minutes(events) -%}
    coalesce({{ events }}.duration_in_minutes, {{ dbt.datediff(events ~ '.started_at', events ~ '.ended_at', 'minute') }})
{%- endmacro %}
