"""Erasure in the lake: after a person is erased it is as if what identifies them had never been known."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gtm_assets.catalog.raw_table import (
    Column,
    ColumnType,
    Deletes,
    Identifies,
    Link,
    Pii,
    RawTable,
    Reference,
)
from gtm_assets.errors import LakeError
from gtm_assets.lake.erased import EMAIL, Ledger, person_kind
from gtm_assets.lake.store import ExportInfo, Lake
from gtm_assets_tests.lake_builders import CALENDAR, FIRST, merged, page
from gtm_assets_tests.properties import at_most

JANE, ANNA = "jane@acme.example", "anna@acme.example"


def text(name: str, pii: Pii | None = None, identifies: Identifies | None = None, **more: object) -> Column:
    return Column(name, ColumnType.STRING, name, name, pii, identifies=identifies, **more)


def table(name: str, *columns: Column, **changes: object) -> RawTable:
    system = (
        Column("modified", ColumnType.TIMESTAMP, "Cursor.", "modified"),
        Column("is_deleted", ColumnType.BOOLEAN, "Deleted.", "is_deleted"),
    )
    about = {"source": "crm", "name": name, "api_name": name, "description": name, "cursor": "modified"}
    return RawTable(columns=(*columns, *system), deletes=Deletes.SOFT, **(about | changes))


PEOPLE = table(
    "person",
    text("id"),
    text("name", Pii.CONFIDENTIAL, Identifies.NAME),
    text("email", Pii.CONFIDENTIAL, Identifies.EMAIL),
    text("title", Pii.INTERNAL),
    text("rating"),
    text("same_id", refers=Reference(Link.SAME, ("person",))),
    Column("amount", ColumnType.CURRENCY, "Amount.", "amount"),
)
TASKS = table(
    "task",
    text("id"),
    text("who_id", refers=Reference(Link.ABOUT, ("person",))),
    text("subject", Pii.INTERNAL),
    text("sender", Pii.CONFIDENTIAL, Identifies.EMAIL),
    text("note"),
    Column("minutes", ColumnType.INTEGER, "Minutes.", "minutes"),
)
EXPORTED = dataclasses.replace(
    PEOPLE,
    name="export",
    is_taken_whole=True,
    columns=tuple(dataclasses.replace(c, api_name="" if c.name == "modified" else c.name) for c in PEOPLE.columns),
)
CHANGES = table(
    "change",
    text("id", identifies=Identifies.HASH),
    text("deal", refers=Reference(Link.ABOUT, ("deal",))),
    text("key"),
    text("value", Pii.CONFIDENTIAL, personal_where=("key", "person_")),
)
PERSONAL = {PEOPLE: ("name", "email", "title"), TASKS: ("subject", "sender"), EXPORTED: ("name", "email", "title")}


def lake_at(folder: Path) -> Lake:
    root = folder / "lake"
    return Lake(root, ledger=Ledger(root, folder / "erasures"))


@pytest.fixture
def lake(tmp_path) -> Lake:
    return lake_at(tmp_path)


def at(partition: str, hours: int = 1, milliseconds: int = 0) -> str:
    instant = CALENDAR.window(partition).end - timedelta(hours=hours) + timedelta(milliseconds=milliseconds)
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


def person(id_: str, partition: str = FIRST, **changes: str | None) -> dict[str, str | None]:
    return {
        "id": id_,
        "name": f"Name of {id_}",
        "email": f"{id_}@x.example",
        "title": "Boss",
        "rating": "Hot",
        "same_id": None,
        "amount": "12.50",
        "modified": at(partition),
        "is_deleted": "false",
    } | changes


def task(id_: str, who: str | None, partition: str = FIRST, **changes: str | None) -> dict[str, str | None]:
    return {
        "id": id_,
        "who_id": who,
        "subject": f"Call {who}",
        "sender": None,
        "note": "nothing",
        "minutes": "5",
        "modified": at(partition),
        "is_deleted": "false",
    } | changes


def land(lake: Lake, table: RawTable, *records: dict[str, str | None], partition: str = FIRST):
    window = CALENDAR.window(partition)
    return lake.land(table, window, [page(*records)], window.end)


def erase(lake: Lake, kinds: dict[str, set[str]], *tables: RawTable, name: str = "request"):
    lake.ledger.make_key()
    lake.ledger.write(name, kinds)
    return apply(lake, *tables)


def apply(lake: Lake, *tables: RawTable):
    done = {}
    while True:
        before = lake.ledger.digests()
        done = {table: lake.erase(table) for table in tables or (PEOPLE, TASKS)}
        if lake.ledger.digests() == before:
            lake.ledger.mark_applied()
            return done


def rows(lake: Lake, table: RawTable = PEOPLE) -> list[dict[str, object]]:
    return lake.read(table).collect().sort("id", "modified").to_dicts()


def versions(lake: Lake, table: RawTable) -> set[tuple]:
    """Each version once: the source's columns and the hash."""
    if not lake.batches(table):
        return set()
    frame = lake.read(table).collect().select(*table.types, "_version_hash")
    return set(frame.iter_rows())


def everything(folder: Path) -> bytes:
    """All that the files below a folder hold, decoded."""
    texts = []
    for path in folder.rglob("*"):
        if path.is_file():
            texts.append(path.read_bytes())
            if path.suffix == ".parquet":
                texts.append(repr(pl.read_parquet(path).to_dicts()).encode())
    return b"\n".join(texts)


# -- what is lost and what stays ----------------------------------------------------------------------------------


def test_a_person_loses_what_identifies_them_and_keeps_the_rest(lake):
    land(lake, PEOPLE, person("p1", email=JANE), person("p2", email=ANNA))
    done = erase(lake, {EMAIL: {JANE}})
    jane, anna = rows(lake)
    assert (jane["name"], jane["email"], jane["title"]) == (None, None, None)
    assert (jane["id"], jane["rating"], str(jane["amount"])) == ("p1", "Hot", "12.500000")
    assert anna["name"] == "Name of p2" and anna["email"] == ANNA
    assert done[PEOPLE].records == {"p1"} or done[PEOPLE].versions == 0  # the last pass finds nothing more
    assert b"Name of p1" not in everything(lake.root) and JANE.encode() not in everything(lake.root)


@pytest.mark.parametrize("written", [JANE, f" {JANE.upper()} ", f"Jane <{JANE}>"])
def test_an_address_is_known_in_any_case_and_with_what_stands_around_it(lake, written):
    land(lake, PEOPLE, person("p1", email=written))
    erase(lake, {EMAIL: {JANE}})
    assert rows(lake)[0]["email"] is None


def test_an_address_that_holds_another_is_another(lake):
    land(lake, PEOPLE, person("p1", email=f"mary-{JANE}"), person("p2", email=f"{JANE}.com"))
    erase(lake, {EMAIL: {JANE}})
    assert [row["email"] for row in rows(lake)] == [f"mary-{JANE}", f"{JANE}.com"]


def test_all_versions_of_a_person_are_rewritten_those_under_another_address_too(lake):
    land(lake, PEOPLE, person("p1", email="old@x.example"))
    land(lake, PEOPLE, person("p1", "2026-01-02", email=JANE), partition="2026-01-02")
    erase(lake, {EMAIL: {JANE}})
    assert [(row["email"], row["name"]) for row in rows(lake)] == [(None, None)] * 2


def test_a_person_under_another_id_is_the_same_person_in_both_directions(lake):
    land(lake, PEOPLE, person("lead", same_id="contact"), person("contact"), person("other"))
    erase(lake, {person_kind("crm", "person"): {"contact"}})
    assert {row["id"]: row["name"] for row in rows(lake)} == {
        "contact": None,
        "lead": None,
        "other": "Name of other",
    }


def test_a_person_found_by_an_old_id_leads_to_the_new_one(lake):
    land(lake, PEOPLE, person("lead", same_id="contact", email=JANE), person("contact"), person("other"))
    erase(lake, {EMAIL: {JANE}})
    assert [row["name"] for row in rows(lake)] == [None, None, "Name of other"]


def test_texts_of_what_is_about_a_person_are_lost_and_its_numbers_stay(lake):
    land(lake, PEOPLE, person("p1", email=JANE), person("p2"))
    land(lake, TASKS, task("t1", "p1"), task("t2", "p2"), task("t3", None, sender=f"x@y.example, {JANE}"))
    erase(lake, {EMAIL: {JANE}})
    assert [(row["subject"], row["minutes"]) for row in rows(lake, TASKS)] == [
        (None, 5),
        ("Call p2", 5),
        (None, 5),
    ]


def test_a_text_in_which_the_address_stands_is_lost_wherever_it_is(lake):
    land(lake, TASKS, task("t1", None, note=f"Write to {JANE.title()}."), task("t2", None, note="Nothing"))
    erase(lake, {EMAIL: {JANE}})
    assert [(row["note"], row["subject"]) for row in rows(lake, TASKS)] == [
        (None, "Call None"),
        ("Nothing", "Call None"),
    ]


def test_a_column_that_the_catalogue_does_not_know_is_lost_too(lake):
    land(lake, PEOPLE, person("p1", email=JANE, nickname="Janey"), person("p2", nickname="Pete"))
    erase(lake, {EMAIL: {JANE}})
    assert [row["nickname"] for row in rows(lake)] == [None, "Pete"]


def test_a_table_of_keys_and_values_loses_the_values_that_are_personal_and_ids_that_were_made_of_them(lake):
    def change(id_: str, deal: str, key: str, value: str) -> dict[str, str | None]:
        return {
            "id": id_, "deal": deal, "key": key, "value": value, "modified": at(FIRST), "is_deleted": "false"
        }  # fmt: skip

    found = [
        change("a", "d1", "person_name", "Jane Roe"),
        change("b", "d1", "person_email", JANE),
        change("c", "d1", "stage", "Won"),
        change("d", "d2", "person_name", "Anna Poe"),
    ]
    land(lake, CHANGES, *found)
    erase(lake, {EMAIL: {JANE}}, CHANGES)
    values = {row["value"]: row["id"] for row in rows(lake, CHANGES)}
    assert set(values) == {None, "Won", "Anna Poe"}
    assert {values["Won"], values["Anna Poe"]} == {"c", "d"}
    assert not {"a", "b"} & {row["id"] for row in rows(lake, CHANGES)}
    # What comes again is known.
    assert land(lake, CHANGES, *found, partition=FIRST).added == 0


def test_a_quarantined_record_loses_it_too_and_its_reason_says_no_value(lake):
    land(lake, PEOPLE, person("p1", email=JANE, amount="much"), person("p2", amount="more"))
    erase(lake, {EMAIL: {JANE}})
    waiting = lake.quarantined(PEOPLE).sort("record_id").to_dicts()
    assert [(row["record_id"], row["reason"]) for row in waiting] == [
        ("p1", "amount is not an amount of at most 18 digits before the decimal point: 'much'"),
        ("p2", "amount is not an amount of at most 18 digits before the decimal point: 'more'"),
    ]
    assert JANE not in waiting[0]["record"] and "Name of p1" not in waiting[0]["record"]
    assert "Name of p2" in waiting[1]["record"]
    # The same record again is not another one.
    assert land(lake, PEOPLE, person("p1", email=JANE, amount="much")).quarantined == 0


def test_quarantined_records_that_are_equal_now_are_one(lake):
    for title in ("Boss", "Chief"):
        land(lake, PEOPLE, person("p1", email=JANE, amount="much", title=title))
    land(lake, PEOPLE, person("p1", email=JANE, amount="much", title="Lead"), partition="2026-01-02")
    assert lake.quarantined(PEOPLE).height == 3
    erase(lake, {EMAIL: {JANE}})
    assert lake.quarantined(PEOPLE)["partition"].to_list() == [FIRST, "2026-01-02"]


def test_merged_months_are_rewritten_and_files_put_aside_are_emptied(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    land(lake, PEOPLE, person("p1", "2026-01-02", email=JANE, rating="Cold"), partition="2026-01-02")
    aside = lake.partition_dir(PEOPLE, "2026-01-03") / "person-2026-01-03-0000.unreadable"
    aside.parent.mkdir()
    aside.write_bytes(b"PAR1 torn " + JANE.encode())
    merged(lake, PEOPLE)
    lake.remove_replaced(PEOPLE)
    before = [(b.partition, b.batch_id) for b in lake.batches(PEOPLE)]
    erase(lake, {EMAIL: {JANE}})
    assert [(b.partition, b.batch_id) for b in lake.batches(PEOPLE)] == before
    assert [row["email"] for row in rows(lake)] == [None, None]
    assert aside.read_bytes() == b""
    assert JANE.encode() not in everything(lake.root)


# -- what lands afterwards ----------------------------------------------------------------------------------------


def test_a_person_lands_no_more_by_id_nor_by_address(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    erase(lake, {EMAIL: {JANE}})
    land(lake, PEOPLE, person("p1", "2026-01-02", email="new@x.example", rating="Cold"), partition="2026-01-02")
    land(lake, PEOPLE, person("p9", "2026-01-03", email=JANE), partition="2026-01-03")
    land(lake, TASKS, task("t1", "p1", "2026-01-03"), task("t9", "p9", "2026-01-03"), partition="2026-01-03")
    assert [(row["id"], row["name"], row["email"], row["rating"]) for row in rows(lake)] == [
        ("p1", None, None, "Hot"),
        ("p1", None, None, "Cold"),
        ("p9", None, None, "Hot"),
    ]
    assert [row["subject"] for row in rows(lake, TASKS)] == [None, None]


def test_a_person_who_came_back_under_another_id_is_known_by_that_id_from_then_on(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    erase(lake, {EMAIL: {JANE}})
    land(lake, PEOPLE, person("p9", "2026-01-02", email=JANE), partition="2026-01-02")
    land(lake, PEOPLE, person("p9", "2026-01-03", email=None), partition="2026-01-03")
    assert all(row["name"] is None for row in rows(lake))
    assert lake.ledger.unapplied() and not lake.ledger.unapplied(asked_for=True)


def test_what_comes_again_is_not_landed_again(lake):
    found = [person("p1", email=JANE), person("p2")]
    land(lake, PEOPLE, *found)
    erase(lake, {EMAIL: {JANE}})
    assert land(lake, PEOPLE, *found).added == 0
    window = CALENDAR.window("2026-01-02")
    assert lake.land_snapshot(PEOPLE, window, [page(*found)], window.end).added == 0


def test_the_ledger_holds_no_id_and_no_address(lake):
    land(lake, PEOPLE, person("p1-secret", email=JANE))
    erase(lake, {EMAIL: {JANE}})
    kept = b"".join(path.read_bytes() for path in (lake.root / "erasures").rglob("*") if path.is_file())
    assert JANE.encode() not in kept and b"p1-secret" not in kept
    key = lake.root.parent / "erasures" / "key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32


def test_without_the_key_nothing_lands(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    erase(lake, {EMAIL: {JANE}})
    (lake.root.parent / "erasures" / "key").unlink()
    with pytest.raises(LakeError, match=r"the key of their hashes is not there.*Restore the file"):
        land(lake, PEOPLE, person("p2"))
    # Nor is another key made, by which nobody would be known.
    with pytest.raises(LakeError, match="the key of their hashes is not there"):
        lake.ledger.make_key()


def test_a_restored_lake_owes_its_erasures_and_gets_them_from_the_copy(lake, tmp_path):
    land(lake, PEOPLE, person("p1", email=JANE))
    shutil.copytree(lake.root, tmp_path / "backup")
    erase(lake, {EMAIL: {JANE}})
    shutil.rmtree(lake.root)
    shutil.copytree(tmp_path / "backup", lake.root)
    assert rows(lake)[0]["email"] == JANE
    assert lake.ledger.unapplied(asked_for=True) == {"request"}
    lake.ledger.synchronise()
    apply(lake)
    assert rows(lake)[0]["email"] is None and not lake.ledger.unapplied()
    assert (lake.root / "erasures" / "request.json").exists()


@pytest.mark.parametrize("call", range(3))
def test_an_erasure_that_was_ended_between_two_files_goes_on(lake, monkeypatch, call):
    from gtm_assets import place

    for number in range(1, 4):
        partition = f"2026-01-0{number}"
        record = person("p1", partition, email=JANE if number == 2 else None, rating=f"{number}")
        land(lake, PEOPLE, record, partition=partition)
    calls, put = [], place.put_over

    def ended(*arguments):
        calls.append(arguments)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        put(*arguments)

    monkeypatch.setattr(place, "put_over", ended)
    with pytest.raises(KeyboardInterrupt):
        erase(lake, {EMAIL: {JANE}})
    monkeypatch.setattr(place, "put_over", put)
    assert lake.ledger.unapplied() and not list(lake.root.rglob("*.tmp"))
    apply(lake)
    assert [(row["name"], row["rating"]) for row in rows(lake)] == [(None, "1"), (None, "2"), (None, "3")]


# -- versions that only a personal field told apart ---------------------------------------------------------------


def test_a_version_that_a_full_extraction_found_by_a_personal_field_alone_goes(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    window = CALENDAR.window("2026-01-02")
    changed = person("p1", email=JANE, title="Chief")
    assert lake.land_snapshot(PEOPLE, window, [page(changed)], window.end).added == 1
    erase(lake, {EMAIL: {JANE}})
    assert len(rows(lake)) == 1
    assert lake.land_snapshot(PEOPLE, window, [page(changed)], window.end).added == 0


def test_a_version_just_after_another_of_the_same_instant_goes_where_a_personal_field_alone_made_it(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    assert land(lake, PEOPLE, person("p1", email=JANE, title="Chief")).added == 1
    assert land(lake, PEOPLE, person("p1", email=JANE, title="Chief", rating="Cold")).added == 1
    erase(lake, {EMAIL: {JANE}})
    assert [row["rating"] for row in rows(lake)] == ["Hot", "Cold"]
    assert land(lake, PEOPLE, person("p1", email=JANE, title="Chief", rating="Cold")).added == 0


def test_a_version_of_the_sources_own_time_stays_though_it_is_equal_now(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    land(lake, PEOPLE, person("p1", "2026-01-02", email=JANE, title="Chief"), partition="2026-01-02")
    erase(lake, {EMAIL: {JANE}})
    assert len(rows(lake)) == 2


# -- the property -------------------------------------------------------------------------------------------------

DAYS = [f"2026-01-0{number}" for number in range(1, 6)]
IDS = ["p1", "p2", "p3"]
_PEOPLE = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "name": st.sampled_from(["A B", "C D", None]),
        "email": st.sampled_from([JANE, JANE, JANE.upper(), ANNA, None]),
        "title": st.sampled_from(["x", "y", None]),
        # Versions that differ by personal fields alone are what matters: the rest seldom varies.
        "rating": st.sampled_from(["1", "1", "1", "2"]),
        "same_id": st.sampled_from([*[None] * 6, *IDS]),
        "amount": st.sampled_from(["1", "1", "1", "odd"]),
        "is_deleted": st.sampled_from(["false", "false", "false", "true"]),
        "minute": st.sampled_from([0, 0, 1]),
    }
)
_TASKS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["t1", "t2"]),
        "who_id": st.sampled_from([*IDS, None]),
        "subject": st.sampled_from(["x", "y"]),
        "sender": st.sampled_from([None, None, JANE]),
        "note": st.sampled_from(["x", f"to {JANE}"]),
        "minutes": st.sampled_from(["1", "2"]),
        "is_deleted": st.just("false"),
        "minute": st.integers(0, 2),
    }
)
_STEP = st.tuples(
    st.sampled_from(["window", "window", "snapshot", "export"]),
    st.integers(0, 1),
    st.lists(_PEOPLE, max_size=4),
    st.lists(_TASKS, max_size=3),
)


def steps_of(drawn: Sequence[tuple]) -> list[tuple]:
    """Landings in order of time: a step stays on its day, which is landed again, or goes on to the next."""
    found, day = [], 0
    for kind, later, people, tasks in drawn:
        day = min(day + later, len(DAYS) - 1)
        known = CALENDAR.window(DAYS[day]).end + timedelta(minutes=len(found))
        records = {
            table: [
                {name: value for name, value in one.items() if name != "minute"}
                | {"modified": at(DAYS[day], one["minute"] + 1)}
                for one in some
            ]
            for table, some in ((PEOPLE, people), (TASKS, tasks))
        }
        if kind != "window":
            # Such an extraction shows each record once, as it is now.
            records = {table: list({one["id"]: one for one in some}.values()) for table, some in records.items()}
        found.append((kind, DAYS[day], known, records))
    return found


def land_step(lake: Lake, step: tuple) -> None:
    kind, day, known, records = step
    window = CALENDAR.window(day)
    if kind == "export":
        exported = known.astimezone(UTC)
        stamped = [one | {"modified": exported.strftime("%Y-%m-%dT%H:%M:%S.000+0000")} for one in records[PEOPLE]]
        info = ExportInfo(exported, is_snapshot=True, limit=1)
        lake.land_export(EXPORTED, window, [page(*stamped)] if stamped else [], known, info)
        return
    for table, some in records.items():
        pages = [page(*some)] if some else []
        if kind == "window":
            lake.land(table, window, pages, known)
        else:
            lake.land_snapshot(table, window, pages, known, limit=1)


def never_known(steps: list[tuple]) -> list[tuple]:
    """The same landings by a source that has never known what identifies the person."""
    people, exported = set[str](), set[str]()
    """Ids of the person's records in the table of people, and in that of the export."""
    while True:
        before = len(people) + len(exported)
        for kind, _, _, records in steps:
            own = exported if kind == "export" else people
            for one in records[PEOPLE]:
                if (one["email"] or "").lower() == JANE or one["id"] in own or one["same_id"] in people:
                    own.add(one["id"])
                    people |= {one["same_id"]} - {None}
        if len(people) + len(exported) == before:
            break

    def bare(kind: str, table: RawTable, one: dict) -> dict:
        if table is PEOPLE:
            is_theirs = one["id"] in (exported if kind == "export" else people)
        else:
            is_theirs = one["who_id"] in people or (one["sender"] or "").lower() == JANE
        kept = one | (dict.fromkeys(PERSONAL[table]) if is_theirs else {})
        if table is TASKS and JANE in one["note"]:
            kept = kept | {"note": None}
        return kept

    return [
        (kind, day, known, {table: [bare(kind, table, one) for one in some] for table, some in records.items()})
        for kind, day, known, records in steps
    ]


@settings(max_examples=at_most(100), phases=[Phase.generate])
@given(st.lists(_STEP, min_size=1, max_size=7), st.integers(0, 7))
def test_after_an_erasure_the_lake_is_as_if_the_person_had_never_been_known(drawn, moment):
    steps = steps_of(drawn)
    tables = (PEOPLE, TASKS, EXPORTED)
    with tempfile.TemporaryDirectory() as folder:
        real, never = lake_at(Path(folder) / "real"), lake_at(Path(folder) / "never")
        for step in steps[:moment]:
            land_step(real, step)
        erase(real, {EMAIL: {JANE}}, *tables)
        for step in steps[moment:]:
            land_step(real, step)
        # Who came under another id is looked for in all tables by the next run.
        apply(real, *tables)
        for step in never_known(steps):
            land_step(never, step)
        for table in tables:
            assert versions(real, table) == versions(never, table), table.name
            waiting = [one.quarantined(table).select("partition", "record_id", "record") for one in (real, never)]
            assert set(waiting[0].iter_rows()) == set(waiting[1].iter_rows())
        assert JANE.encode() not in everything(real.root).lower()


def test_where_nobody_was_erased_a_landing_reads_no_key_and_changes_nothing(lake):
    land(lake, PEOPLE, person("p1", email=JANE))
    assert not lake.ledger.of(PEOPLE) and lake.ledger.unapplied() == set()
    assert not (lake.root / "erasures").exists() and not (lake.root.parent / "erasures").exists()
    assert rows(lake)[0]["_known_at"] < datetime(2026, 2, 1, tzinfo=UTC)


def test_nothing_is_published_of_a_lake_that_owes_an_erasure(lake):
    from gtm_assets.publishing.publish import PublishError, refuse_unerased

    land(lake, PEOPLE, person("p1", email=JANE))
    refuse_unerased(lake)
    lake.ledger.make_key()
    lake.ledger.write("request", {EMAIL: {JANE}})
    with pytest.raises(PublishError, match="gtm erase --replay"):
        refuse_unerased(lake)
    apply(lake)
    refuse_unerased(lake)
