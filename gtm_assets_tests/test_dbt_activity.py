"""Events and emails follow what they point to."""

from __future__ import annotations

from datetime import datetime

from gtm_assets_tests.dbt_harness import (
    CREATED,
    Home,
    account,
    at,
    contact,
    empty_tables,
    partition,
    task,
    user,
    with_ancestors,
)

MODELS = [
    *(f"base_salesforce__{table}" for table in ("account", "user", "contact", "event", "email_message")),
    "int_account_versions",
    "dim_account_scd2",
    "fct_event",
    "fct_email_message",
]
VIEWS = [f"stg_salesforce__{table}" for table in ("user", "contact", "event", "email_message")]


def event(number: int, modified: datetime, **changes: object) -> dict[str, object]:
    """An event, as last modified at an instant."""
    return {
        "id": f"00U{number:015d}",
        "event_subtype": "Event",
        "duration_in_minutes": 30,
        "created_date": CREATED,
        "system_modstamp": modified,
        "is_deleted": False,
    } | changes


def email_message(number: int, modified: datetime, **changes: object) -> dict[str, object]:
    """An email, as last modified at an instant."""
    return {
        "id": f"02s{number:015d}",
        "status": "3",
        "incoming": False,
        "created_date": CREATED,
        "system_modstamp": modified,
        "is_deleted": False,
    } | changes


TABLES = {
    "account": account,
    "user": user,
    "contact": contact,
    "event": event,
    "email_message": email_message,
}


def id_of(make, number: int | None) -> str | None:
    return None if number is None else make(number, CREATED)["id"]


def test_events_and_emails_follow_owner_account_and_contact_when_they_come_change_and_go(tmp_path):
    home = Home(tmp_path / "gtm")
    empty_tables(home, *TABLES)
    who, owner, about = id_of(contact, 1), id_of(user, 1), id_of(account, 1)
    references = {"owner_id": owner, "account_id": about, "who_id": who}
    home.land("event", partition(2), event(1, at(2), **references, start_date_time=at(4)))
    home.land("event", partition(2), event(2, at(2), **references, start_date_time=at(25)))
    sent = {"created_by_id": owner, "related_to_id": about, "message_date": at(4)}
    home.land("email_message", partition(2), email_message(1, at(2), **sent))
    home.build(*with_ancestors("dim_account_scd2"), *MODELS, *VIEWS)
    seen = [keys(home)]

    home.land("user", partition(3), user(1, at(3)))
    home.land("contact", partition(3), contact(1, at(3)))
    home.land("account", partition(3), account(1, at(3)))
    home.land("account", partition(5), account(1, at(5), industry="new"))
    home.build(*MODELS)
    seen.append(keys(home))
    home.land("user", partition(6), user(1, at(6), _fivetran_deleted=True))
    home.land("event", partition(6), event(2, at(6), is_deleted=True))
    home.build(*MODELS)
    seen.append(keys(home))

    first, second = (
        row[0]
        for row in home.rows(
            "select account_key from gtm_core.dim_account_scd2 where account_id <> 'unknown' order by valid_from"
        )
    )
    user_key, _, contact_key = seen[1]["event 1"]
    assert set(seen[0].values()) == {("unknown", "unknown", "unknown"), ("unknown", "unknown", None)}
    # What has happened is with the account as it was then, what is to come with the account as it is.
    assert seen[1] == {
        "event 1": (user_key, first, contact_key),
        "event 2": (user_key, second, contact_key),
        "email 1": (user_key, first, None),
    }
    assert seen[2] == {"event 1": ("unknown", first, contact_key), "email 1": ("unknown", first, None)}
    assert "unknown" not in (user_key, contact_key)


def test_what_is_older_than_its_account_has_the_accounts_first_version(tmp_path):
    """Records that were merged or imported are older than the account that they are at."""
    home = Home(tmp_path / "gtm").seed()
    empty_tables(home, *TABLES, "task", "opportunity")
    about = id_of(account, 1)
    older = {
        "task": task(1, at(2), account_id=about, is_closed=True, completed_date_time=at(2)),
        "event": event(1, at(2), account_id=about, start_date_time=at(2)),
        "email_message": email_message(1, at(2), related_to_id=about, message_date=at(2)),
    }
    for table, record in older.items():
        home.land(table, partition(2), record)
    home.land("account", partition(6), account(1, at(6), created_date=at(6)))
    home.land("account", partition(7), account(1, at(7), created_date=at(6), industry="new"))
    facts = [f"fct_{table}" for table in older]
    home.build(*with_ancestors(*facts))
    assert set(first_accounts(home, facts)) == {at(6)}

    # An earlier beginning comes to light, which is still younger than they are.
    home.land("account", partition(5), account(1, at(5), created_date=at(5), industry="first"))
    home.build(*with_ancestors(*facts))
    assert set(first_accounts(home, facts)) == {at(5)}
    full = home.twin("full").seed()
    full.build(*with_ancestors(*facts))
    assert full.tables(*facts) == home.tables(*facts)


def first_accounts(home: Home, facts: list[str]) -> list[datetime | None]:
    """From when on the account version is valid that each row of the facts points to."""
    rows = [f"select account_key from gtm_core.{fact}" for fact in facts]
    versions = "select account_key, valid_from from gtm_core.dim_account_scd2 where account_id <> 'unknown'"
    found = home.rows(
        f"select valid_from from ({' union all '.join(rows)}) left join ({versions}) using (account_key)"
    )
    return [instant for (instant,) in found]


def keys(home: Home) -> dict[str, tuple[str, str, str | None]]:
    rows = home.rows(
        """
        select 'event ' || event_id, owner_user_key, account_key, contact_key from gtm_core.fct_event
        union all
        select 'email ' || email_message_id, owner_user_key, account_key, null from gtm_core.fct_email_message
        """
    )
    return {f"{name[:6]}{int(name[9:])}": (owner, account_, contact_) for name, owner, account_, contact_ in rows}
