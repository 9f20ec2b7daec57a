"""Who a person is: which records, what identifies them and nobody else, and what may name them."""

from __future__ import annotations

import pytest

from gtm_assets.catalog.raw_table import Link, Pii, Reference
from gtm_assets.lake.erased import ADDRESS, EMAIL
from gtm_assets.lake.store import Lake
from gtm_assets.privacy.person import Finder, Person, of_lake
from gtm_assets_tests.lake_builders import FIRST
from gtm_assets_tests.test_erasure import (
    ANNA,
    CHANGES,
    JANE,
    PEOPLE,
    TASKS,
    at,
    lake_at,
    land,
    person,
    table,
    task,
    text,
)

MAILS = table(
    "mail", text("id"), text("task_id", refers=Reference(Link.ABOUT, ("task",))), text("subject", Pii.INTERNAL)
)
ROLES = table(
    "role",
    text("id"),
    text("who_id", refers=Reference(Link.ABOUT, ("person",))),
    text("deal_id", refers=Reference(Link.NAMED_IN, ("deal",))),
)
TABLES = (PEOPLE, TASKS, MAILS, ROLES, CHANGES)
OWN, NEXT = "person crm.person", "2026-01-02"


@pytest.fixture
def lake(tmp_path) -> Lake:
    return lake_at(tmp_path)


def find(lake: Lake, *emails: str, ids: tuple[str, ...] = ()) -> Person:
    return Finder(of_lake(lake), TABLES).find(emails, ids)


def row(id_: str, **values: str | None) -> dict[str, str | None]:
    return {"id": id_, "modified": at(FIRST), "is_deleted": "false"} | values


def test_an_address_in_any_case_gives_all_records_with_it_and_their_other_ids(lake):
    land(
        lake, PEOPLE, person("p1", email=JANE.upper()), person("p2", email=f" {JANE}", same_id="p3"), person("p4")
    )
    found = find(lake, f"{JANE.title()} ")
    assert found.kinds[OWN] == {"p1", "p2", "p3"} and found.kinds[EMAIL] == {JANE}


def test_a_record_given_by_its_id_is_known_by_its_addresses_one_that_was_found_is_not(lake):
    land(lake, PEOPLE, person("p1", email=JANE), person("p2", email=JANE), person("p3", email="info@x.example"))
    land(lake, PEOPLE, person("p2", NEXT, email="info@x.example"), partition=NEXT)
    assert find(lake, ids=("p1",)).kinds[OWN] == {"p1", "p2"}
    # p2 had an address that p3 has too: p3 is another person, and the address does not tell who it is.
    assert "info@x.example" not in find(lake, JANE).values
    assert find(lake, ids=("p2",)).kinds[OWN] == {"p1", "p2", "p3"}


def test_what_nobody_else_has_is_looked_for(lake):
    land(
        lake,
        PEOPLE,
        person("p1", email=JANE, name="Jane Roe"),
        person("p2", email=ANNA, name="Anna Poe"),
        person("p3", name="anna poe"),
    )
    land(lake, PEOPLE, person("p1", NEXT, email="old@x.example", name="Jane Doe"), partition=NEXT)
    jane, anna = find(lake, JANE), find(lake, ANNA)
    assert jane.values == {JANE, "old@x.example", "jane roe", "jane doe"}
    assert jane.kinds[ADDRESS] == {"old@x.example"}
    assert anna.values == {ANNA}, "another person has that name"


def test_texts_that_name_the_person_are_found_and_those_that_only_resemble_it_are_not(lake):
    land(lake, PEOPLE, person("p1", email=JANE, name="Jane Roe"), person("p2", name="Jane Roebuck"))
    land(
        lake,
        TASKS,
        task("t1", None, note="Told JANE ROE, then left"),
        task("t2", None, note="Told Jane Roebuck"),
        task("t3", None, subject="for Jane Roe"),
    )
    found = find(lake, JANE)
    cells = {kind: ids for kind, ids in found.kinds.items() if kind.startswith("cell")}
    assert cells == {"cell crm.task.note": {"t1"}, "cell crm.task.subject": {"t3"}}


def test_what_is_about_what_is_about_the_person_is_found_and_where_they_play_a_part(lake):
    land(lake, PEOPLE, person("p1", email=JANE), person("p2"))
    land(lake, TASKS, task("t1", "p1"), task("t2", "p2"))
    land(lake, ROLES, row("r1", who_id="p1", deal_id="d1"), row("r2", who_id="p2", deal_id="d2"))
    found = find(lake, JANE)
    assert found.kinds["texts crm.task"] == {"t1"} and found.kinds["texts crm.deal"] == {"d1"}
    lake.ledger.make_key()
    lake.ledger.write("request", found.kinds)
    land(lake, MAILS, row("m1", task_id="t1", subject="Hi Jane"), row("m2", task_id="t2", subject="Hi you"))
    assert sorted(lake.read(MAILS).collect()["subject"].to_list(), key=str) == ["Hi you", None]


def test_a_deals_contact_is_known_by_the_address_and_gives_the_name(lake):
    land(
        lake,
        CHANGES,
        row("a", deal="d1", key="person_name", value="Jane Roe"),
        row("b", deal="d1", key="person_email", value=JANE.title()),
        row("c", deal="d2", key="person_name", value="Anna Poe"),
        row("d", deal="d2", key="lost_reason", value="Nobody but Joe Doe"),
    )
    found = find(lake, JANE)
    assert found.kinds["person crm.deal"] == {"d1"} and found.values == {JANE, "jane roe"}


def test_one_who_only_stands_in_a_text_is_found_by_the_address(lake):
    land(lake, TASKS, task("t1", None, note=f"Write to {JANE}"))
    assert find(lake, JANE).kinds["cell crm.task.note"] == {"t1"}


def test_who_waits_in_quarantine_alone_is_found(lake):
    land(lake, PEOPLE, person("p1", email=JANE, name="Jane Roe", amount="odd"))
    found = find(lake, JANE)
    assert found.kinds[OWN] == {"p1"} and found.values == {JANE, "jane roe"}


def test_nobody_is_found_by_an_address_that_nobody_has(lake):
    land(lake, PEOPLE, person("p1", email=f"mary-{JANE}"), person("p2", email=None))
    found = find(lake, JANE)
    assert found.records == 0 and found.kinds == {EMAIL: {JANE}}
