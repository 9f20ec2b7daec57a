"""After an erasure the models are as if what identifies the person had never been known.

Two homes get the same random change logs. From one a contact, a lead and a user are erased in the midst; the
other's source never knew what identifies them.
"""

from __future__ import annotations

import random

import pytest

from gtm_assets.lake.erased import Ledger, person_kind
from gtm_assets.lake.store import Lake
from gtm_assets_tests.change_logs import ALL_TABLES, ChangeLog, Record, assert_equal, id_of
from gtm_assets_tests.dbt_harness import Home, empty_tables, parsed, with_ancestors

ERASED = {
    name: {id_of(name, n) for n in numbers}
    for name, numbers in (("contact", (1, 3)), ("lead", (1, 4)), ("user", (2,)))
}
"""The ids of their records by table."""
PERSONAL = {
    "contact": (
        *("first_name", "last_name", "name", "email", "phone", "mobile_phone", "title", "department"),
        *("mailing_city", "mailing_state", "mailing_country"),
    ),
    "lead": ("first_name", "last_name", "name", "email", "phone", "title", "country"),
    "user": ("username", "first_name", "last_name", "name", "email", "title", "department"),
    "task": ("subject",),
    "event": ("subject", "location"),
    "contact_history": ("old_value", "new_value"),
    "opportunity": ("description", "next_step"),
}
"""What a record of the person's, or about them, loses."""
ABOUT = {"task": "who_id", "event": "who_id", "contact_history": "contact_id", "opportunity": "contact_id"}
SOME = ("account", "user", "contact", "lead", "task", "event")
FEW = ("dim_contact", "dim_contact_scd2", "dim_user_scd2", "dim_lead", "fct_task", "fct_event")


def bare(table: str, record: Record) -> Record:
    """A record as a source returns it that does not know what identifies the person."""
    if table in ABOUT:
        is_theirs = record.get(ABOUT[table]) in ERASED["contact"] | ERASED["lead"]
    else:
        is_theirs = record.get("id") in ERASED.get(table, ())
    return record | {name: None for name in PERSONAL.get(table, ()) if is_theirs and name in record}


def known(record: Record, table: str) -> Record:
    """A record with more of what identifies people than the change logs draw."""
    if table in ("contact", "lead", "user"):
        return {"name": f"Name of {record['id']}"} | record
    if table in ("task", "event"):
        return {"subject": f"Call {record.get('who_id')}"} | record
    return record


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("salt", "models"),
    [
        pytest.param("short", FEW, id="few_models"),
        *(pytest.param(f"long {number}", (), id=f"all_models_{number}") for number in range(2)),
    ],
)
def test_after_an_erasure_the_models_are_as_if_the_person_had_never_been_known(tmp_path, salt, models):
    real, never = Home(tmp_path / "real").seed(), Home(tmp_path / "never").seed()
    real.lake = Lake(real.path / "lake", ledger=Ledger(real.path / "lake", real.path / "erasures"))
    log = ChangeLog(real, salt)
    tables, models = (SOME, models) if models else (tuple(ALL_TABLES), all_models())
    drawing = random.Random(salt)
    moment = drawing.randint(4, 9)
    held = 0
    for day in range(2, 12):
        if day == moment:
            real.lake.ledger.make_key()
            kinds = {person_kind("salesforce", name): ids for name, ids in ERASED.items()}
            real.lake.ledger.write("request", kinds)
            held = sum(real.lake.erase(ALL_TABLES[table]).versions for table in tables)
            real.lake.ledger.mark_applied()
        for table in tables:
            landed_on = max(day - drawing.choice([0, 0, 0, 1, 3]), 2)
            records = [known(record, table) for record in log.draw(table, landed_on, drawing.randint(4, 9))]
            log.land(table, landed_on, records)
            never.land(table, f"2026-01-{landed_on:02d}", *(bare(table, record) for record in records))
    assert held > 5, "the person was hardly there before the erasure"
    for home in (real, never):
        empty_tables(home, *ALL_TABLES)
        home.build(*with_ancestors(*models))
    assert_equal(log, real, never.tables(*models))
    built = str(real.tables(*models))
    assert not [id_ for ids in ERASED.values() for id_ in ids if f"Name of {id_}" in built]


def all_models() -> tuple[str, ...]:
    """All tables of core and mart."""
    return tuple(
        sorted(
            node.name
            for node in parsed().nodes.values()
            if node.resource_type == "model" and node.schema in ("gtm_core", "gtm_mart")
        )
    )
