"""Full extractions: what daily ones can't see is found, nothing is erased, and a short answer is refused."""

import dataclasses
import random
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gtm_assets import place
from gtm_assets.catalog.raw_table import Column, ColumnType, Deletes
from gtm_assets.errors import LakeError
from gtm_assets.lake.store import ExportInfo, Lake
from gtm_assets.partitions import Calendar
from gtm_assets_tests.lake_builders import CALENDAR, DAY, DEALS, FIRST, NEXT, content, deal, land, leftovers, page
from gtm_assets_tests.properties import at_most

# An example lands whole lakes: to shrink one that fails would take minutes.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)

LISTED = dataclasses.replace(
    DEALS,
    name="listed",
    columns=(
        *(column for column in DEALS.columns if column.name != "is_deleted"),
        Column("_fivetran_deleted", ColumnType.BOOLEAN, "Test column.", ""),
    ),
    deletes=Deletes.SNAPSHOT,
)
"""A table whose source has no delete mark."""


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


def snapshot(lake: Lake, *pages: pl.DataFrame, partition: str = DAY, table=DEALS, limit: float = 1.0):
    window = CALENDAR.window(partition)
    return lake.land_snapshot(table, window, pages, window.end, limit)


def newest(lake: Lake, table=DEALS) -> dict[str, dict]:
    """The newest version of each record, by the rule of the base models."""
    frame = (
        lake.read(table)
        .collect()
        .with_columns(pl.col("_batch_id").str.extract(r"(\d{4}-\d{2}-\d{2})").alias("partition"))
    )
    first = frame.sort("partition").unique("_version_hash", keep="first", maintain_order=True)
    ordered = first.sort(table.cursor, "partition", pl.col(table.deletes.value).fill_null(False), "_version_hash")
    return {row["id"]: row for row in ordered.iter_rows(named=True)}


def test_a_record_that_is_gone_is_marked_with_the_time_of_detection_and_kept(lake):
    land(lake, page(deal(1), deal(2)))
    before = content(lake)

    landed = snapshot(lake, page(deal(1)), partition=NEXT)

    assert (landed.added, landed.hard_deleted) == (1, 1)
    gone = newest(lake)[deal(2)["id"]]
    end = CALENDAR.window(NEXT).end
    assert (gone["is_deleted"], gone["system_modstamp"], gone["_known_at"]) == (True, end, end)
    assert (gone["name"], str(gone["amount"]), gone["_batch_id"]) == ("Deal 2", "2.250000", f"deal-{NEXT}-0000")
    assert before <= content(lake)
    assert newest(lake)[deal(1)["id"]]["is_deleted"] is False


def test_where_the_source_has_no_delete_mark_the_loaders_is_set(lake):
    records = [{k: v for k, v in deal(n).items() if k != "is_deleted"} for n in (1, 2)]
    land(lake, page(*records), table=LISTED)

    snapshot(lake, page(records[0]), partition=NEXT, table=LISTED)

    marks = {number: newest(lake, LISTED)[deal(number)["id"]]["_fivetran_deleted"] for number in (1, 2)}
    assert marks == {1: None, 2: True}


def test_a_snapshot_of_what_is_known_lands_nothing(lake):
    land(lake, page(deal(1), deal(2, is_deleted="true")), partition=DAY)
    land(lake, partition=NEXT)
    before = content(lake)

    landed = snapshot(lake, page(deal(1), deal(2, is_deleted="true")), partition=NEXT)

    assert (landed.added, landed.batch_id, landed.received) == (0, None, 2)
    assert content(lake) == before


def test_a_record_deleted_before_is_not_deleted_again(lake):
    land(lake, page(deal(1), deal(2, is_deleted="true")))

    landed = snapshot(lake, page(deal(1)), partition=NEXT)

    assert landed.hard_deleted == 0


def test_a_snapshot_repeated_lands_nothing_more(lake):
    land(lake, page(deal(1), deal(2)))
    snapshot(lake, page(deal(1, name="by formula")), partition=NEXT)
    before = content(lake)

    assert snapshot(lake, page(deal(1, name="by formula")), partition=NEXT).added == 0
    assert snapshot(lake, page(deal(1, name="by formula")), partition="2026-01-07").added == 0
    assert content(lake) == before


def test_what_changed_under_the_same_cursor_is_a_version_of_its_detection(lake):
    land(lake, page(deal(1)))

    snapshot(lake, page(deal(1, probability="99")), partition=NEXT)

    now = newest(lake)[deal(1)["id"]]
    assert (now["probability"], now["system_modstamp"]) == (99.0, CALENDAR.window(NEXT).end)


def test_a_formula_that_turns_back_is_seen_each_time(lake):
    land(lake, page(deal(1)))
    for partition, probability in ((NEXT, "99"), ("2026-01-12", "62.5"), ("2026-01-19", "99")):
        snapshot(lake, page(deal(1, probability=probability)), partition=partition)

        assert newest(lake)[deal(1)["id"]]["probability"] == float(probability)


@pytest.mark.parametrize("table", [DEALS, LISTED], ids=["soft deletes", "no delete mark"])
def test_a_record_that_comes_back_is_alive_again(lake, table):
    records = [{k: v for k, v in deal(n).items() if k in table.types} for n in (1, 2)]
    land(lake, page(*records), table=table)
    snapshot(lake, page(records[0]), partition=NEXT, table=table)
    assert newest(lake, table)[deal(2)["id"]][table.deletes.value] is True

    landed = snapshot(lake, page(*records), partition="2026-01-12", table=table)

    assert landed.added == 1
    assert not newest(lake, table)[deal(2)["id"]][table.deletes.value]
    assert snapshot(lake, page(*records), partition="2026-01-19", table=table).added == 0


def test_a_record_that_changed_after_the_window_is_left_alone_and_counts_as_there(lake):
    later = CALENDAR.window(NEXT).end - timedelta(minutes=5)
    changed = deal(1, name="of tomorrow", system_modstamp=later.isoformat())
    land(lake, page(deal(1), deal(2)))

    first = snapshot(lake, page(changed, deal(2)))
    land(lake, page(changed), partition=NEXT)
    second = snapshot(lake, page(deal(2)))
    third = snapshot(lake, page(deal(1, probability="99"), deal(2)))

    assert (first.added, second.added, second.hard_deleted, third.added) == (0, 0, 0, 0)
    assert newest(lake)[deal(1)["id"]]["name"] == "of tomorrow"


def test_a_column_that_the_source_no_longer_returns_makes_no_versions(lake):
    land(lake, page(deal(1)))
    without = {k: v for k, v in deal(1).items() if k != "name"}

    assert snapshot(lake, page(without), partition=NEXT).added == 0


def test_a_new_column_makes_versions_where_it_holds_something(lake):
    land(lake, page(deal(1), deal(2)))

    landed = snapshot(lake, page(deal(1, tier_c="gold"), deal(2, tier_c=None)), partition=NEXT)

    assert landed.added == 1
    assert newest(lake)[deal(1)["id"]]["tier_c"] == "gold"


@pytest.mark.parametrize("extraction", [land, snapshot], ids=["daily", "full"])
def test_a_version_in_quarantine_does_not_hold_back_its_records_deletion(lake, extraction):
    land(lake, page(deal(1), deal(2), deal(3), deal(4, is_deleted="true")))
    found = page(
        deal(1, NEXT, is_deleted="true", lines="none"),
        deal(2, NEXT, lines="none"),
        deal(3, NEXT, is_deleted="true", system_modstamp=None),
        deal(4, NEXT, is_deleted="true", lines="none"),
        deal(5, NEXT, is_deleted="true", lines="none"),
    )

    landing = extraction(lake, found, partition=NEXT)
    again = extraction(lake, found, partition=NEXT)

    versions = newest(lake)
    deleted = {id_: version for id_, version in versions.items() if version["is_deleted"]}
    assert set(deleted) == {deal(number)["id"] for number in (1, 3, 4)}
    assert (landing.added, landing.quarantined, landing.hard_deleted) == (2, 5, 0)
    assert (again.added, again.quarantined) == (0, 0)
    # The last good content, as of the deletion; where that has no time, of its detection.
    gone, timeless = deleted[deal(1)["id"]], deleted[deal(3)["id"]]
    assert (gone["name"], gone["lines"]) == ("Deal 1", 3)
    assert gone["system_modstamp"] == CALENDAR.window(NEXT).end - timedelta(hours=1)
    assert timeless["system_modstamp"] == CALENDAR.window(NEXT).end
    # Given back, it is alive.
    back = deal(1, "2026-01-07")
    land(lake, page(back), partition="2026-01-07")
    assert not newest(lake)[back["id"]]["is_deleted"]


def test_a_record_in_quarantine_is_not_gone(lake):
    land(lake, page(deal(1), deal(2)))

    landed = snapshot(lake, page(deal(1), deal(2, amount="no")), partition=NEXT)

    assert (landed.quarantined, landed.hard_deleted) == (1, 0)


def test_a_snapshot_lands_a_partition_that_has_not_landed_and_all_that_was_missed(lake):
    landed = snapshot(lake, page(deal(1, FIRST), deal(2)))

    assert (landed.added, landed.batch_id, lake.partitions(DEALS)) == (2, f"deal-{DAY}-0000", [DAY])
    assert snapshot(lake, partition=NEXT, table=LISTED).batch_id == f"listed-{NEXT}-0000"


def test_old_history_that_the_source_purges_is_kept(lake):
    history = dataclasses.replace(
        DEALS,
        columns=(*DEALS.columns, Column("created_date", ColumnType.TIMESTAMP, "Test column.", "")),
        cursor="created_date",
        is_append_only=True,
    )
    records = [deal(n, created_date="2026-01-05T00:00:00Z") for n in (1, 2)]
    land(lake, page(*records), table=history)

    landed = snapshot(lake, page(records[0] | {"name": "renamed"}), partition=NEXT, table=history)

    assert landed.added == 0


# -- what is refused -------------------------------------------------------------------------------------------


def test_a_snapshot_that_lacks_too_many_is_refused_and_lands_nothing(lake):
    land(lake, page(*(deal(n) for n in range(100))))
    before = content(lake)

    with pytest.raises(LakeError) as refused:
        snapshot(lake, page(*(deal(n) for n in range(79)), deal(200)), partition=NEXT, limit=0.2)

    assert "salesforce.deal 2026-01-06: the full extraction lacks 21 of 100 live records" in str(refused.value)
    assert "GTM_HARD_DELETE_LIMIT (20%)" in str(refused.value)
    assert content(lake) == before
    assert lake.partitions(DEALS) == [DAY]
    assert leftovers(lake) == []
    assert snapshot(lake, page(*(deal(n) for n in range(80))), partition=NEXT, limit=0.2).hard_deleted == 20


def test_a_few_records_of_a_small_table_may_go_but_not_all(lake):
    land(lake, page(*(deal(n) for n in range(6))))

    with pytest.raises(LakeError, match="lacks 6 of 6 live records"):
        snapshot(lake, partition=NEXT, limit=0.2)

    assert snapshot(lake, page(deal(0)), partition=NEXT, limit=0.2).hard_deleted == 5


def test_all_may_go_where_we_are_told_so(lake):
    land(lake, page(*(deal(n) for n in range(20))))

    assert snapshot(lake, partition=NEXT, limit=1).hard_deleted == 20


def test_records_without_an_id_delete_nobody(lake):
    land(lake, page(deal(1), deal(2)))

    with pytest.raises(LakeError, match="records without id, so it can't tell which of 1 missing"):
        snapshot(lake, page(deal(1), deal(2, id=None)), partition=NEXT)


def test_a_crash_before_the_batch_stands_leaves_nothing_and_the_next_lands_all(lake, monkeypatch):
    land(lake, page(deal(1), deal(2)))
    before = content(lake)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(place, "put_new", crash)
        snapshot(lake, page(deal(1, name="by formula")), partition=NEXT)

    assert content(lake) == before
    assert snapshot(lake, page(deal(1, name="by formula")), partition=NEXT).added == 2


# -- exports ---------------------------------------------------------------------------------------------------

EXPORTED = dataclasses.replace(DEALS, name="exported")
STAMPED = dataclasses.replace(
    EXPORTED,
    columns=tuple(
        dataclasses.replace(c, api_name="" if c.name == DEALS.cursor else c.api_name) for c in DEALS.columns
    ),
)
"""Its cursor is ours: the time of the export."""
LONG = Calendar(date(2026, 1, 1), date(2026, 4, 30))
"""So long that January is merged."""


def export(lake: Lake, exported_at: datetime, records: list[dict], partition: str = "2026-04-02"):
    window = LONG.window(partition)
    cursors = [record | {"system_modstamp": exported_at.isoformat()} for record in records]
    return lake.land_export(EXPORTED, window, [page(*cursors)], window.end, ExportInfo(exported_at))


def test_an_older_export_is_compared_with_the_version_that_base_takes_for_its_time(tmp_path):
    """Versions of few instants, of which many tie; the same answer from a merged lake and in any order of rows."""
    chance, begun = random.Random(0), LONG.window("2026-01-05").end
    at = begun + timedelta(hours=1)
    numbers = range(60)

    def version(hour: int, mark: str = "false") -> dict:
        cursor = (begun + timedelta(hours=hour)).isoformat()
        name = chance.choice("ab")
        return deal(chance.choice(numbers), name=name, is_deleted=mark, system_modstamp=cursor)

    found = {
        day: [version(chance.randrange(3), chance.choice(["false", "false", "true"])) for _ in range(60)]
        for day in range(1, 10)
    }
    newer = [deal(number, system_modstamp=(begun + timedelta(hours=9)).isoformat()) for number in numbers]
    records = [deal(number, name=chance.choice("ab")) for number in numbers]
    landed = {}
    for name in ("single", "merged"):
        lake = Lake(tmp_path / name)
        for day, versions in found.items():
            window = LONG.window(f"2026-01-{day:02d}")
            lake.land(EXPORTED, window, [page(*versions)], window.end)
        lake.land(EXPORTED, LONG.window("2026-04-01"), [page(*newer)], begun)
        if name == "merged":
            assert lake.compact(EXPORTED).files_after == 1
            lake.remove_replaced(EXPORTED)
            chance.shuffle(records)
        before, in_force = content(lake, EXPORTED), newest_at(lake, at)
        exact = {
            (row["id"], row["name"])
            for row in chain.from_iterable(found.values())
            if row["system_modstamp"] == at.isoformat() and row["is_deleted"] == "false"
        }
        export(lake, at, records)
        added = content(lake, EXPORTED) - before
        new = {(r["id"], r["name"]) for r in records if in_force.get(r["id"]) != (r["name"], False)} - exact
        assert {(dict(row)["id"], dict(row)["name"]) for row in added} == new
        assert 10 < len(new) < 50
        landed[name] = added
        assert export(lake, at, records, "2026-04-03").added == 0
    assert landed["single"] == landed["merged"]


def newest_at(lake: Lake, instant: datetime) -> dict[str, tuple]:
    """By id the content of the version in force, by the rule of the base models, and whether it is deleted."""
    frame = lake.read(EXPORTED).collect().filter(pl.col("system_modstamp") <= instant)
    frame = frame.with_columns(pl.col("_batch_id").str.extract(r"(\d{4}-\d{2}-\d{2})").alias("partition"))
    first = frame.sort("partition").unique("_version_hash", keep="first", maintain_order=True)
    ordered = first.sort("system_modstamp", "partition", "is_deleted", "_version_hash")
    return {row["id"]: (row["name"], row["is_deleted"]) for row in ordered.iter_rows(named=True)}


# -- all of it -------------------------------------------------------------------------------------------------

DAYS = [f"2026-01-{day:02d}" for day in range(1, 15)]


@settings(max_examples=at_most(40), deadline=None, phases=UNSHRUNK)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["edit", "formula", "vanish", "return", "delete", "extract", "snapshot"]),
            st.integers(1, 4),
            st.integers(1, 3),
        ),
        max_size=40,
    )
)
def test_after_a_full_extraction_the_lake_shows_the_source_as_it_is(steps):
    """The oracle is the source itself: a dict of records that are edited, vanish and come back day by day."""
    with TemporaryDirectory() as folder:
        lake, source, hidden, day = Lake(Path(folder)), {}, {}, 0
        seen: set[str] = set()
        for step, number, value in steps:
            key = deal(number)["id"]
            at = CALENDAR.window(DAYS[day]).end - timedelta(hours=1)
            changes = {"lines": str(value), "system_modstamp": at.isoformat()}
            match step:
                case "edit" if key not in hidden:
                    source[key] = source.get(key, deal(number)) | changes | {"is_deleted": "false"}
                case "delete" if key in source:
                    source[key] = source[key] | changes | {"is_deleted": "true"}
                case "formula" if key in source:
                    source[key] = source[key] | {"probability": str(value)}
                case "vanish" if key in source:
                    hidden[key] = source.pop(key)
                case "return" if key in hidden:
                    source[key] = hidden.pop(key)
                case "extract" | "snapshot":
                    window = CALENDAR.window(DAYS[day])
                    if step == "extract":
                        found = [r for r in source.values() if r["system_modstamp"] == at.isoformat()]
                        lake.land(DEALS, window, [page(*found)] if found else [], window.end)
                        seen |= {r["id"] for r in found}
                    else:
                        before = content(lake) if lake.batches(DEALS) else None
                        pages = [page(record) for record in source.values()]
                        lake.land_snapshot(DEALS, window, pages, window.end, 1.0)
                        again = lake.land_snapshot(DEALS, window, pages, window.end, 1.0)
                        assert again.added == 0
                        assert before is None or before <= content(lake)
                        seen |= set(source)
                        shown = newest(lake)
                        assert set(shown) == seen
                        for record_id, row in shown.items():
                            if record_id not in source:
                                assert row["is_deleted"]
                                continue
                            truth = source[record_id]
                            assert (row["lines"], row["probability"], row["is_deleted"]) == (
                                int(truth["lines"]),
                                float(truth["probability"]),
                                truth["is_deleted"] == "true",
                            )
                    # The next day: two full extractions of one instant could not be told apart.
                    day = min(day + 1, len(DAYS) - 1)
                    if day == len(DAYS) - 1:
                        return


APRIL = [LONG.window(f"2026-04-{day:02d}").end - timedelta(hours=1) for day in range(1, 5)]
FOOTER = dict.fromkeys(deal(0), "") | {"id": None, "name": "Total", "lines": "x"}
"""A row below an export's records that is none."""


def stamped(lake: Lake, exported_at: datetime, records: list[dict], partition: str, whole: bool = False):
    window = LONG.window(partition)
    pages = [page(*(record | {"system_modstamp": exported_at.isoformat()} for record in records))]
    info = ExportInfo(exported_at, is_snapshot=whole, limit=1.0)
    return lake.land_export(STAMPED, window, pages, window.end, info)


def waiting(lake: Lake) -> list[tuple[str | None, str]]:
    return sorted(lake.quarantined(STAMPED).select("record_id", "reason").iter_rows(), key=str)


def test_a_whole_export_releases_the_footer_row_that_it_no_longer_has(lake):
    assert stamped(lake, APRIL[0], [deal(1), FOOTER], "2026-04-01", whole=True).quarantined == 1
    kept = stamped(lake, APRIL[1], [deal(1), FOOTER], "2026-04-02", whole=True)
    assert (kept.quarantined, kept.released, len(waiting(lake))) == (0, 0, 1)

    landing = stamped(lake, APRIL[2], [deal(1)], "2026-04-03", whole=True)

    assert (landing.released, waiting(lake)) == (1, [])
    assert leftovers(lake) == []


def test_a_whole_export_releases_a_footer_whose_sum_has_changed_and_a_record_that_is_gone(lake):
    gone, other = deal(2, lines="two"), FOOTER | {"lines": "y"}
    stamped(lake, APRIL[0], [deal(1), gone, FOOTER], "2026-04-01")

    landing = stamped(lake, APRIL[1], [deal(1), other], "2026-04-02", whole=True)

    assert (landing.quarantined, landing.released) == (1, 2)
    assert [reason for _, reason in waiting(lake)] == ["lines is not a whole number: 'y'; id is missing: None"]


def test_a_version_that_waits_stays_while_an_export_has_its_record(lake):
    """Once the catalogue is mended, a retry lands it as the older version that it is."""
    stamped(lake, APRIL[0], [deal(1), deal(2, lines="two")], "2026-04-01")

    assert stamped(lake, APRIL[1], [deal(1), deal(2)], "2026-04-02", whole=True).released == 0
    assert [id_ for id_, _ in waiting(lake)] == [deal(2)["id"]]


def test_a_piece_of_an_export_and_an_older_export_release_nothing(lake):
    stamped(lake, APRIL[1], [deal(1), deal(2, lines="two"), FOOTER], "2026-04-02")

    assert stamped(lake, APRIL[2], [deal(1)], "2026-04-03").released == 0
    assert stamped(lake, APRIL[0], [deal(1)], "2026-04-04", whole=True).released == 0
    assert len(waiting(lake)) == 2


def test_a_crash_before_the_release_leaves_it_to_the_next_whole_export(lake, monkeypatch):
    stamped(lake, APRIL[0], [deal(1), FOOTER], "2026-04-01")
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(place, "replace_frame", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        stamped(lake, APRIL[1], [deal(1), deal(3)], "2026-04-02", whole=True)
    assert len(waiting(lake)) == 1

    landing = stamped(lake, APRIL[1], [deal(1), deal(3)], "2026-04-02", whole=True)

    assert (landing.added, landing.released, waiting(lake)) == (0, 1, [])
