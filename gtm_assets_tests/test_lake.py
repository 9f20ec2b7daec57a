"""The lake: a change log that only grows, whatever comes, in whatever order, and whoever is killed."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gtm_assets import place
from gtm_assets.catalog.raw_table import Column, ColumnType
from gtm_assets.checks.drift import schema_drift
from gtm_assets.errors import LakeError
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.lake.hashes import version_hash
from gtm_assets.lake.store import Lake
from gtm_assets_tests.lake_builders import (
    CALENDAR,
    DAY,
    DEALS,
    FIRST,
    NEXT,
    content,
    deal,
    land,
    land_in_a_process,
    land_where_files_stay_small,
    leftovers,
    page,
    wait_for,
    with_type,
)
from gtm_assets_tests.properties import at_most

# An example lands whole lakes: to shrink one that fails would take minutes.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["gtm_assets_tests.lake_builders"])


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


def batch_bytes(lake: Lake) -> dict[Path, bytes]:
    return {batch.path: batch.path.read_bytes() for batch in lake.batches()}


# -- landing ---------------------------------------------------------------------------------------------------


def test_a_landing_says_what_it_did(lake):
    landed = land(lake, page(deal(1), deal(2)), page(deal(2), deal(3, amount="no")))

    assert (landed.received, landed.added, landed.quarantined) == (4, 2, 1)
    assert landed.batch_id == "deal-2026-01-05-0000"
    assert landed.newest_cursor == CALENDAR.window(DAY).end - timedelta(hours=1)
    assert landed.bytes == lake.batches(DEALS)[0].path.stat().st_size
    assert (landed.unknown_columns, landed.missing_columns) == ((), ())
    assert landed.columns["amount"] == "decimal(24,6)"


def test_a_record_lies_in_the_lake_in_the_catalogues_types_with_when_it_was_known(lake):
    land(lake, page(deal(1)))

    frame = lake.read(DEALS).collect()

    expected = {name: type_.polars for name, type_ in (DEALS.types | LOADER_COLUMNS).items()}
    assert dict(frame.schema) == expected
    record = frame.row(0, named=True)
    assert record["_batch_id"] == "deal-2026-01-05-0000"
    assert record["_known_at"] == record["_fivetran_synced"] == CALENDAR.window(DAY).end
    assert len(record["_version_hash"]) == 32


def test_the_time_at_which_records_were_known_may_be_told_in_any_time_zone(lake):
    known = pl.Series([CALENDAR.window(DAY).end]).dt.convert_time_zone("America/Los_Angeles")[0]

    lake.land(DEALS, CALENDAR.window(DAY), [page(deal(1))], known)

    assert lake.read(DEALS).collect()["_known_at"].to_list() == [CALENDAR.window(DAY).end]


def test_a_partition_landed_twice_adds_nothing(lake):
    first = land(lake, page(deal(1), deal(2)))
    before = batch_bytes(lake)

    again = land(lake, page(deal(1), deal(2)))

    assert (first.added, again.added) == (2, 0)
    assert again.batch_id is None
    assert batch_bytes(lake) == before


def test_a_repeat_that_finds_fewer_records_takes_none_away(lake):
    land(lake, page(deal(1), deal(2)))
    before = content(lake)

    land(lake, page(deal(2)))
    land(lake)

    assert content(lake) == before


def test_a_repeat_adds_only_the_versions_not_seen_before_in_a_batch_of_their_own(lake):
    land(lake, page(deal(1), deal(2)))
    before = batch_bytes(lake)

    landed = land(lake, page(deal(1), deal(2, name="renamed"), deal(3)))

    assert landed.added == 2
    assert landed.batch_id == "deal-2026-01-05-0001"
    assert content(lake).total() == 4
    assert {path: path.read_bytes() for path in before} == before


def test_a_record_that_comes_several_times_lands_once(lake):
    landed = land(lake, page(deal(1), deal(1), deal(2)), page(deal(2), deal(1)))

    assert (landed.received, landed.added) == (5, 2)
    assert set(content(lake).values()) == {1}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed"},
        {"is_won": "false"},
        {"lines": "4"},
        {"probability": "62.6"},
        {"amount": "1.26"},
        {"close_date": "2026-04-01"},
        {"system_modstamp": "2026-01-06T00:00:00.001Z"},
        {"is_deleted": "true"},
        {"name": None},
        {"name": ""},
        {"owner_c": "005"},
    ],
)
def test_a_change_of_any_column_is_a_new_version_though_the_cursor_stayed(lake, change):
    land(lake, page(deal(1)))

    assert land(lake, page(deal(1, **change))).added == 1


def test_the_same_record_in_another_notation_is_the_same_version(lake):
    land(lake, page(deal(1)))

    again = deal(1, lines="3.0", amount="1.2500", is_won="TRUE", close_date="2026-03-31T00:00:00Z", new_c=None)
    again["system_modstamp"] = again["system_modstamp"].replace("+0000", "Z")

    assert land(lake, page(again).select(reversed(again))).added == 0


@settings(max_examples=at_most(30), deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({name: st.none() | st.text("ab=:\x1f1,", max_size=6) for name in ("a", "b", "c")}),
        min_size=1,
        max_size=12,
    )
)
def test_versions_have_the_same_hash_only_where_their_columns_are_equal(records):
    hashes = version_hash(page(*records)).to_list()

    different = {tuple(sorted(record.items())) for record in records}
    assert len(set(hashes)) == len(different)


def test_a_text_that_looks_like_the_next_column_makes_no_hash_collide():
    one = page({"a": "x\x1fb=y", "b": None})
    other = page({"a": "x", "b": "y"})

    assert version_hash(one)[0] != version_hash(other)[0]


def test_hashes_stay_as_they_are_from_release_to_release():
    # Another hash would land the whole source again as new versions.
    record = pl.DataFrame({"id": ["006"], "amount": [1.5], "at": [datetime(2026, 1, 5, tzinfo=UTC)], "n": [None]})

    written_out = "amount=3:1.5" + "at=16:1767571200000000" + "id=3:006"
    assert version_hash(record).to_list() == [hashlib.md5(written_out.encode()).hexdigest()]


TYPED = st.fixed_dictionaries(
    {
        "a": st.none() | st.text("aé=:1", max_size=3),
        "id": st.text("abc", min_size=3, max_size=3),
        "flag": st.none() | st.booleans(),
        "number": st.none() | st.integers(-1000, 1000),
        "share": st.none() | st.sampled_from([0.5, -1.25, 62.5]),
        "day": st.none() | st.dates(),
        "at": st.none() | st.integers(0, 2**33).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
        "empty": st.none(),
    }
)


@given(st.lists(TYPED, min_size=1, max_size=5))
def test_a_record_has_one_hash_on_a_page_of_few_and_of_many(records):
    few = pl.DataFrame(records, schema_overrides={"at": pl.Datetime("us", "UTC"), "empty": pl.String})
    many = pl.concat([few] * 201)

    hashes = version_hash(few).to_list()
    assert version_hash(many).to_list() == hashes * 201
    assert hashes == [hashlib.md5("".join(_pieces(record)).encode()).hexdigest() for record in few.to_dicts()]


def _pieces(record: dict[str, object]) -> Iterator[str]:
    for name, value in sorted(record.items()):
        if value is not None:
            text = _text_of_release_one(value)
            yield f"{name}={len(text.encode())}:{text}"


@pytest.mark.parametrize(
    ("amount", "text"),
    [("100", "100.00"), ("-0.5", "-0.50"), ("0", "0.00"), ("0.045", "0.045"), ("1.000001", "1.000001")],
)
def test_an_amount_has_one_hash_in_every_type_that_holds_it(amount, text):
    scales = [scale for scale in (2, 3, 6) if round(Decimal(amount), scale) == Decimal(amount)]
    hashes = {
        version_hash(pl.DataFrame({"amount": pl.Series([Decimal(amount)], dtype=pl.Decimal(24, scale))}))[0]
        for scale in scales
    }

    assert hashes == {hashlib.md5(f"amount={len(text)}:{text}".encode()).hexdigest()}


@pytest.mark.parametrize("whole", [False, True])
def test_what_an_older_release_landed_with_two_decimals_is_not_landed_again(lake, whole):
    land(lake, page(deal(1), deal(2)))
    (batch,) = lake.batches(DEALS)
    # As its type was then, under the hash that it had then.
    old = pl.read_parquet(batch.path).with_columns(pl.col("amount").cast(pl.Decimal(18, 2)))
    own = old.select(list(DEALS.types))
    pieces = [
        "".join(
            f"{name}={len(text.encode())}:{text}"
            for name in sorted(own.columns)
            for text in [_text_of_release_one(row[name])]
        )
        for row in own.iter_rows(named=True)
    ]
    hashes = [hashlib.md5(piece.encode()).hexdigest() for piece in pieces]
    old.with_columns(pl.Series("_version_hash", hashes)).write_parquet(batch.path)

    if whole:
        pages = [page(deal(1), deal(2, amount="2.2500"), deal(3, amount="0.045"))]
        again = lake.land_snapshot(DEALS, CALENDAR.window(NEXT), pages, CALENDAR.window(NEXT).end)
    else:
        again = land(lake, page(deal(1), deal(2, amount="2.2500"), deal(3, amount="0.045")))

    assert again.added == 1
    amounts = lake.versions(lake.batches(DEALS), ["amount"])["amount"]
    assert sorted(amounts) == [Decimal("0.045"), Decimal("1.25"), Decimal("2.25")]
    assert sorted(lake.read(DEALS).collect()["amount"]) == sorted(amounts)


def _text_of_release_one(value: object) -> str:
    if isinstance(value, datetime):
        return str(int(value.timestamp() * 1_000_000))
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_an_amount_with_more_than_six_decimals_lands_rounded_and_is_told(lake):
    landed = land(lake, page(deal(1), deal(2, amount="0.1234567")), page(deal(3, amount="9.87654321")))

    assert (landed.added, landed.quarantined, len(landed.rounded)) == (3, 0, 1)
    assert landed.describe_problems() == (
        "salesforce.deal 2026-01-05: amount has more than six decimals in 2 of 3 records "
        "(first: 006000000000000002 '0.1234567'). They are rounded to six."
    )
    assert sorted(lake.read(DEALS).collect()["amount"]) == [
        Decimal("0.123457"),
        Decimal("1.25"),
        Decimal("9.876543"),
    ]
    finding = schema_drift([landed], (), ())
    assert (finding.passed, finding.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert finding.sentence.startswith(
        "salesforce.deal has amounts with more than six decimals, which are rounded to six: amount, in 2 values "
        "(first: amount '0.1234567' of 006000000000000002)."
    )


@settings(max_examples=at_most(15), deadline=None, phases=UNSHRUNK)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b"])), max_size=25),
    st.lists(st.integers(1, 7), min_size=25, max_size=25),
)
def test_the_content_is_the_same_however_the_source_splits_its_pages(found, sizes):
    records = [deal(n, name=name) | ({"extra_c": name} if n > 6 else {}) for n, name in found]
    pages, rest = [], records
    for size in sizes:
        pages, rest = ([*pages, page(*rest[:size])] if rest else pages), rest[size:]

    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        whole, split = Lake(Path(one)), Lake(Path(other))
        land(whole, *([page(*records)] if records else []))
        land(split, *pages)

        assert content(split) == content(whole)
        assert len(split.batches(DEALS)) == 1


@settings(max_examples=at_most(10), deadline=None, phases=UNSHRUNK)
@given(st.permutations(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]), st.integers(0, 99))
def test_the_versions_are_the_same_in_whatever_order_partitions_land(order, seed):
    chance = random.Random(seed)
    # What each extraction finds: its own changes, some of them seen by the next one's lookback again.
    own = {key: [deal(chance.randrange(6), key, name=f"on {key}") for _ in range(4)] for key in sorted(order)}
    found = {key: list(records) for key, records in own.items()}
    for earlier, later in zip(sorted(order), sorted(order)[1:], strict=False):
        found[later] += chance.sample(own[earlier], 2)
        # A clock that is ahead: what is of a later day, or of the very end of this one, is found today, too.
        end = CALENDAR.window(earlier).end.isoformat()
        ahead = [*chance.sample(own[later], 2), deal(chance.randrange(6), system_modstamp=end)]
        found[earlier] += ahead
        found[max(order)] += ahead

    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        in_order, shuffled = Lake(Path(one)), Lake(Path(other))
        for key in sorted(order):
            land(in_order, page(*found[key]), partition=key)
        for key in order:
            land(shuffled, page(*found[key]), partition=key)

        assert set(content(shuffled)) == set(content(in_order))
        assert set(content(in_order).values()) == {1}


def test_a_late_version_that_an_earlier_partition_landed_is_not_added_again(lake):
    land(lake, page(deal(1, DAY), deal(2, DAY)), partition=DAY)

    landed = land(lake, page(deal(2, DAY), deal(3, DAY), deal(4, NEXT)), partition=NEXT)

    assert landed.added == 2
    assert set(content(lake).values()) == {1}


def test_a_late_version_of_before_the_calendar_is_known_from_the_first_partition(lake):
    long_ago = deal(1, system_modstamp="2019-11-11T17:23:34Z")
    land(lake, page(long_ago), partition=FIRST)
    land(lake, page(deal(2, DAY)), partition=DAY)

    assert land(lake, page(long_ago), partition=NEXT).added == 0


def test_a_late_version_that_nobody_landed_lands_in_the_partition_that_is_being_run(lake):
    land(lake, page(deal(1, DAY)), partition=DAY)

    land(lake, page(deal(2, DAY)), partition=NEXT)

    assert lake.read(DEALS).filter(pl.col("id") == deal(2)["id"]).collect()["_batch_id"].to_list() == [
        "deal-2026-01-06-0000"
    ]


@pytest.mark.parametrize("found_in", ["2026-01-06", "2026-01-08", "2026-01-20"])
def test_a_version_of_after_its_window_is_not_added_again_by_its_own_partition_nor_by_a_later_one(lake, found_in):
    ahead = deal(1, "2026-01-06")
    land(lake, page(deal(2, DAY)), partition=DAY)
    land(lake, page(ahead), partition="2026-01-03")
    land(lake, page(deal(3, "2026-01-04")), partition="2026-01-03")

    landed = land(lake, page(ahead, deal(4, found_in)), partition=found_in)

    assert landed.added == 1
    assert set(content(lake).values()) == {1}


def test_what_landed_ahead_before_there_were_marks_is_found_once_by_asking_the_files(lake, monkeypatch):
    ahead = deal(1, "2026-01-06")
    land(lake, page(deal(2, "2026-01-02")), partition="2026-01-02")
    land(lake, page(ahead), partition="2026-01-03")
    land(lake, page(deal(3, DAY)), partition=DAY)
    marks = lake.root / "salesforce/deal/ahead"
    shutil.rmtree(marks)
    # One was killed while it asked.
    (marks.with_name(".ahead.tmp")).mkdir()
    (marks.with_name(".ahead.tmp") / "2026-01-02").write_text("2026-02-01")

    landed = land(lake, page(ahead, deal(4, "2026-01-08")), partition="2026-01-08")

    assert landed.added == 1
    assert set(content(lake).values()) == {1}
    assert [mark.name for mark in marks.iterdir()] == ["2026-01-03"]
    assert leftovers(lake) == [marks / "2026-01-03"]
    monkeypatch.setattr(Lake, "newest_cursors", None)
    assert land(lake, page(ahead), partition="2026-01-09").added == 0


def test_a_mark_of_what_lies_ahead_that_can_not_be_read_leads_to_its_partition_all_the_same(lake):
    land(lake, page(deal(1, NEXT)), partition="2026-01-03")
    (mark,) = (lake.root / "salesforce/deal/ahead").iterdir()
    assert mark.name == "2026-01-03"
    mark.write_text("")

    assert land(lake, page(deal(1, NEXT)), partition=NEXT).added == 0


def test_what_a_full_extraction_stamps_with_its_windows_end_is_not_added_again_by_the_next_partition(lake):
    end = CALENDAR.window(DAY).end
    land(lake, page(deal(1, DAY)), partition=DAY)
    lake.land_snapshot(DEALS, CALENDAR.window(DAY), [page(deal(1, DAY, lines="4"))], end)

    assert land(lake, page(deal(1, lines="4", system_modstamp=end.isoformat())), partition=NEXT).added == 0


def test_partitions_that_no_late_version_belongs_to_are_not_opened(lake):
    land(lake, page(deal(1, "2026-01-02")), partition="2026-01-02")
    land(lake, page(deal(2, DAY)), partition=DAY)
    (untouched,) = [batch for batch in lake.batches(DEALS) if batch.partition == "2026-01-02"]
    land(lake, page(deal(3, FIRST)), partition=FIRST)
    untouched.path.write_bytes(b"torn")

    assert land(lake, page(deal(2, DAY), deal(4, NEXT)), partition=NEXT).added == 1


# -- empty partitions and columns -----------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [[], [pl.DataFrame()], [page(deal(1)).clear()]])
def test_a_partition_without_records_is_a_file_without_rows_in_the_catalogues_types(lake, pages):
    landed = land(lake, *pages)

    (batch,) = lake.batches(DEALS)
    assert (landed.batch_id, landed.added) == (batch.batch_id, 0)
    assert landed.missing_columns == ()
    assert pq.read_metadata(batch.path).num_rows == 0
    expected = [(name, type_.arrow) for name, type_ in (DEALS.types | LOADER_COLUMNS).items()]
    assert [(field.name, field.type) for field in pq.read_schema(batch.path)] == expected


def test_a_partition_without_records_gets_one_file_however_often_it_lands(lake):
    for _ in range(3):
        land(lake)

    assert len(lake.batches(DEALS)) == 1


def test_a_column_of_nulls_keeps_its_type(lake):
    nothing = dict.fromkeys(["is_won", "lines", "probability", "amount", "close_date", "is_deleted"])
    land(lake, page(deal(1, **nothing)))

    schema = pq.read_schema(lake.batches(DEALS)[0].path)

    assert {name: schema.field(name).type for name in nothing} == {
        name: DEALS.types[name].arrow for name in nothing
    }


def test_duckdb_reads_all_batches_by_name_in_the_catalogues_types(lake):
    land(lake, partition="2026-01-02")
    land(lake, page(deal(1, amount=None)), partition=DAY)
    land(lake, page(deal(2, NEXT, new_c="x")), partition=NEXT)

    files = str(lake.root / "salesforce/deal/*/*.parquet")
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        read = f"from read_parquet('{files}', union_by_name = true, hive_partitioning = false)"
        types = dict(connection.sql(f"select column_name, column_type from (describe {read})").fetchall())
        rows = connection.sql(f"select id, amount::varchar, new_c {read} order by id").fetchall()

    expected = {name: type_.sql.upper() for name, type_ in (DEALS.types | LOADER_COLUMNS).items()}
    assert types == expected | {"new_c": "VARCHAR"}
    assert rows == [(deal(1)["id"], None, None), (deal(2)["id"], "2.250000", "x")]


def test_an_unknown_column_of_a_later_page_leaves_the_rows_before_it(lake):
    landed = land(
        lake, page(deal(1)), page(deal(2, b_c="b")), page(deal(3)), page(deal(4, a_c="a", b_c="bb")), page(deal(5))
    )

    rows = lake.read(DEALS).select("name", "a_c", "b_c").sort("name").collect().rows()
    assert landed.unknown_columns == ("a_c", "b_c")
    assert (landed.columns["a_c"], landed.columns["b_c"]) == ("varchar", "varchar")
    assert rows == [
        ("Deal 1", None, None),
        ("Deal 2", None, "b"),
        ("Deal 3", None, None),
        ("Deal 4", "a", "bb"),
        ("Deal 5", None, None),
    ]
    assert leftovers(lake) == []


def test_an_unknown_column_may_come_and_go_between_batches(lake):
    land(lake, page(deal(1)), partition="2026-01-03")
    land(lake, page(deal(2, new_c="x")), partition="2026-01-04")
    land(lake, page(deal(3)), partition=DAY)

    rows = lake.read(DEALS).select("name", "new_c").sort("name").collect().rows()

    assert rows == [("Deal 1", None), ("Deal 2", "x"), ("Deal 3", None)]


def test_a_new_column_that_is_still_empty_makes_no_new_versions(lake):
    land(lake, page(deal(1)))

    assert land(lake, page(deal(1, new_c=None))).added == 0


def test_a_column_that_the_source_no_longer_returns_is_null_and_reported(lake):
    landed = land(lake, page(deal(1)).drop("amount", "lines"), page(deal(2)).drop("amount"))

    assert landed.missing_columns == ("amount",)
    assert lake.read(DEALS).collect()["amount"].to_list() == [None, None]


# -- columns that the lake writes itself -----------------------------------------------------------------------


def test_a_landings_own_time_of_loading_wins_over_the_lakes(lake):
    landed = land(lake, page(deal(1, _fivetran_synced="2026-01-05 10:00:00"), deal(2, _fivetran_synced="")))

    stamps = lake.read(DEALS).sort("id").collect()["_fivetran_synced"].to_list()
    assert stamps == [datetime(2026, 1, 5, 10, tzinfo=UTC), CALENDAR.window(DAY).end]
    assert landed.unknown_columns == ()


def test_a_record_that_was_only_loaded_again_is_no_new_version(lake):
    land(lake, page(deal(1, _fivetran_synced="2026-01-05 10:00:00"), deal(2, lines="x", _fivetran_synced="")))

    again = land(
        lake, page(deal(1, _fivetran_synced="2026-01-06 10:00:00"), deal(2, lines="x", _fivetran_synced=None))
    )

    assert (again.added, again.quarantined) == (0, 0)


def test_a_table_whose_cursor_is_the_time_of_loading_has_a_version_for_each(lake):
    stamp = Column("_fivetran_synced", ColumnType.TIMESTAMP, "When the record was loaded.", "")
    table = replace(DEALS, columns=(*DEALS.columns, stamp), cursor="_fivetran_synced")

    first = land(lake, page(deal(1, _fivetran_synced="2026-01-06 00:00:00")), table=table)
    again = land(lake, page(deal(1, _fivetran_synced="2026-01-06 01:00:00")), table=table)

    assert (first.added, again.added) == (1, 1)
    assert again.newest_cursor == datetime(2026, 1, 6, 1, tzinfo=UTC)
    names = pq.read_schema(lake.batches(table)[0].path).names
    assert names.count("_fivetran_synced") == 1


def test_the_time_of_loading_is_a_timestamp_whatever_the_catalogue_calls_it(lake):
    stamp = Column("_fivetran_synced", ColumnType.STRING, "When the record was loaded.", "")
    table = replace(DEALS, columns=(*DEALS.columns, stamp))

    land(lake, page(deal(1, _fivetran_synced="2026-01-05 10:00:00"), deal(2, _fivetran_synced="")), table=table)

    stamps = lake.read(table).sort("id").collect()["_fivetran_synced"].to_list()
    assert stamps == [datetime(2026, 1, 5, 10, tzinfo=UTC), CALENDAR.window(DAY).end]


@pytest.mark.parametrize("column", ["_batch_id", "_known_at", "_version_hash"])
def test_a_source_that_returns_a_column_of_the_lake_is_refused(lake, column):
    with pytest.raises(LakeError) as refusal:
        land(lake, page(deal(1)), page(deal(2, **{column: "x"})))

    assert str(refusal.value) == (
        f"salesforce.deal 2026-01-05: the source returned a column {column}, which only the lake writes. "
        "Leave it out of the extraction or rename it; nothing was landed."
    )
    assert lake.batches() == leftovers(lake) == []


# -- quarantine ------------------------------------------------------------------------------------------------


def test_records_that_do_not_fit_wait_in_quarantine_whole_and_with_the_reason(lake):
    bad = deal(2, close_date="2026-13-01", lines="many", note_c="é\n'\"", name=None)

    landed = land(lake, page(deal(1), bad))

    waiting = lake.quarantined(DEALS).row(0, named=True)
    assert (landed.added, landed.quarantined) == (1, 1)
    assert content(lake).total() == 1
    assert (waiting["partition"], waiting["record_id"]) == (DAY, bad["id"])
    assert waiting["reason"] == "lines is not a whole number: 'many'; close_date is not a date: '2026-13-01'"
    assert page(json.loads(waiting["record"])).row(0, named=True) == bad


def test_the_problems_of_a_landing_name_table_partition_field_count_example_and_remedy(lake):
    bad = [deal(n, close_date="2026-13-01") for n in (7, 8, 9)]

    landed = land(lake, page(*(deal(n) for n in range(5)), bad[0]), page(*bad[1:]))

    assert landed.describe_problems() == (
        "salesforce.deal 2026-01-05: close_date is not a date in 3 of 8 records "
        f"(first: {bad[0]['id']} '2026-13-01').\n"
        "They are in quarantine (lake/quarantine/salesforce/deal/partition=2026-01-05). "
        "Repaired at the source, they come back by themselves; "
        "if our type is wrong, mend the catalogue and run: gtm quarantine retry salesforce.deal"
    )
    assert land(lake, page(deal(1))).describe_problems() == ""


def test_a_record_without_id_waits_in_quarantine(lake):
    landed = land(lake, page(deal(1), deal(2, id="")).drop("name"), page(deal(3)).drop("id"))

    assert (landed.received, landed.added, landed.quarantined) == (3, 1, 2)
    assert lake.quarantined(DEALS)["record_id"].to_list() == ["", None]


def test_a_partition_landed_twice_does_not_fill_quarantine_twice(lake):
    records = page(deal(1), deal(2, lines="x"), deal(2, lines="x"), deal(3, lines="y"))

    landings = [land(lake, records) for _ in range(3)]

    assert [landing.quarantined for landing in landings] == [2, 0, 0]
    assert lake.quarantined(DEALS).height == 2
    assert landings[-1].problems[0].records == 3


def test_another_reject_of_a_later_landing_joins_the_first(lake):
    land(lake, page(deal(1, lines="x")))
    land(lake, page(deal(2, lines="x")))
    land(lake, page(deal(3, lines="x")))

    assert sorted(lake.quarantined(DEALS)["record_id"]) == [deal(n)["id"] for n in (1, 2, 3)]


def test_a_partition_of_rejected_records_alone_has_landed(lake):
    landed = land(lake, page(deal(1, lines="x")))

    assert landed.batch_id is not None
    assert lake.partitions(DEALS) == [DAY]


def test_a_record_repaired_at_the_source_lands_and_the_old_one_stays_in_quarantine(lake):
    land(lake, page(deal(1, lines="x")), partition=DAY)

    landed = land(lake, page(deal(1, NEXT, lines="4")), partition=NEXT)

    assert landed.added == 1
    assert lake.quarantined(DEALS).height == 1


def test_a_retry_before_the_catalogue_is_mended_changes_nothing(lake):
    land(lake, page(deal(1), deal(2, lines="x")))
    before, waiting = batch_bytes(lake), lake.quarantined(DEALS)

    assert lake.retry(DEALS, CALENDAR.window, datetime(2026, 2, 1, tzinfo=UTC)) == []

    assert batch_bytes(lake) == before
    assert lake.quarantined(DEALS).equals(waiting)


def test_a_retry_lands_what_fits_the_mended_catalogue_in_the_partition_that_it_came_in(lake):
    land(lake, page(deal(1, DAY), deal(2, DAY, lines="2.5"), deal(3, DAY, lines="x")), partition=DAY)
    land(lake, page(deal(4, NEXT, lines="4.5", extra_c="e")), partition=NEXT)
    before = batch_bytes(lake)
    mended = with_type(DEALS, "lines", ColumnType.DOUBLE)

    landings = lake.retry(mended, CALENDAR.window, datetime(2026, 2, 1, tzinfo=UTC))

    assert [(landing.partition, landing.added) for landing in landings] == [(DAY, 1), (NEXT, 1)]
    retried = (
        lake.read(mended).filter(pl.col("_known_at") >= datetime(2026, 2, 1, tzinfo=UTC)).sort("id").collect()
    )
    assert retried["lines"].to_list() == [2.5, 4.5]
    assert retried["_batch_id"].to_list() == ["deal-2026-01-05-0001", "deal-2026-01-06-0001"]
    assert lake.quarantined(DEALS)["record_id"].to_list() == [deal(3)["id"]]
    assert {path: path.read_bytes() for path in before} == before


def test_a_retry_twice_lands_once(lake):
    land(lake, page(deal(1, lines="x")))
    mended = with_type(DEALS, "lines", ColumnType.STRING)
    now = datetime(2026, 2, 1, tzinfo=UTC)

    first, again = (lake.retry(mended, CALENDAR.window, now) for _ in range(2))

    assert [landing.added for landing in first] == [1]
    assert again == []
    assert lake.quarantined(DEALS).is_empty()
    assert leftovers(lake) == []


def test_a_retry_killed_after_its_batch_lands_nothing_twice(lake, monkeypatch):
    land(lake, page(deal(1, lines="x")))
    mended = with_type(DEALS, "lines", ColumnType.STRING)
    now = datetime(2026, 2, 1, tzinfo=UTC)
    with monkeypatch.context() as dying:
        dying.setattr(place, "replace_frame", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lake.retry(mended, CALENDAR.window, now)

    (landing,) = lake.retry(mended, CALENDAR.window, now)

    assert landing.added == 0
    assert content(lake, mended).total() == 1
    assert lake.quarantined(DEALS).is_empty()


def test_a_retried_record_found_again_by_an_extraction_is_the_same_version(lake):
    records = page(deal(1, lines="2.5", new_c="n"))
    land(lake, records)
    mended = with_type(DEALS, "lines", ColumnType.DOUBLE)
    lake.retry(mended, CALENDAR.window, datetime(2026, 2, 1, tzinfo=UTC))

    assert land(lake, records, table=mended).added == 0


def test_a_typed_record_comes_out_of_quarantine_as_it_went_in(lake):
    at = datetime(2026, 1, 6, 1, 2, 3, 456789, tzinfo=UTC)
    typed = pl.DataFrame(
        {"id": ["006"], "name": ["x"], "is_won": [True], "lines": [2.5], "probability": [0.1], "amount": [0.1]}
    ).with_columns(close_date=at.date(), system_modstamp=at, is_deleted=False)
    land(lake, typed)
    mended = with_type(DEALS, "lines", ColumnType.DOUBLE)

    lake.retry(mended, CALENDAR.window, datetime(2026, 2, 1, tzinfo=UTC))

    with TemporaryDirectory() as folder:
        directly = Lake(Path(folder))
        land(directly, typed, table=mended)
        assert content(lake, mended)[next(iter(content(directly, mended)))] == 1


# -- what goes wrong -------------------------------------------------------------------------------------------


def fail_on(monkeypatch, owner, method: str, call: int, error: Exception) -> None:
    """Let the ``call``-th call of a method raise, and all after it."""
    whole, calls = getattr(owner, method), Counter()

    def failing(*args, **kwargs):
        calls[method] += 1
        if calls[method] >= call:
            raise error
        return whole(*args, **kwargs)

    monkeypatch.setattr(owner, method, failing)


DISK_FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (pq.ParquetWriter, "write_table", 1),
        (pq.ParquetWriter, "write_table", 2),
        (pq.ParquetWriter, "write_table", 3),  # while the rows before an unknown column are copied
        (pq.ParquetWriter, "close", 1),
        (pq.ParquetWriter, "close", 2),
        (pl.DataFrame, "write_parquet", 1),  # quarantine
        (os, "fsync", 1),
        (Path, "replace", 1),
    ],
)
def test_a_full_disk_leaves_nothing_and_says_so(lake, monkeypatch, owner, method, call):
    pages = [page(deal(1)), page(deal(2, lines="x"), deal(3)), page(deal(4, new_c="n"))]
    with monkeypatch.context() as full:
        fail_on(full, owner, method, call, DISK_FULL)
        with pytest.raises(LakeError) as refusal:
            land(lake, *pages)

    assert str(refusal.value) == (
        "salesforce.deal 2026-01-05: [Errno 28] No space left on device. "
        "The disk is full: free space and run again; nothing of the partition was landed."
    )
    assert lake.batches() == leftovers(lake) == []
    assert land(lake, *pages).added == 3


def test_a_file_that_cannot_grow_leaves_nothing_and_the_next_landing_lands_all(lake):
    result = PROCESSES.Queue()
    noise = random.Random(1)
    pages = [page(*(deal(n, name=noise.randbytes(200).hex()) for n in range(k, k + 500))) for k in (0, 500, 1000)]
    process = PROCESSES.Process(
        target=land_where_files_stay_small, args=(lake.root, CALENDAR.window(DAY), pages, 100_000, result)
    )
    process.start()
    message = result.get(timeout=30)
    process.join(30)

    assert message.startswith("salesforce.deal 2026-01-05: [Errno 27] ")
    assert message.endswith("then run again; nothing of the partition was landed.")
    assert lake.batches() == leftovers(lake) == []
    assert land(lake, *pages).added == 1500


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset by peer"), TimeoutError("slow"), ValueError("x")]
)
def test_an_error_of_the_source_comes_out_as_it_is_and_nothing_lands(lake, error):
    def pages():
        yield page(deal(1))
        raise error

    with pytest.raises(type(error)) as raised:
        lake.land(DEALS, CALENDAR.window(DAY), pages(), datetime(2026, 1, 7, tzinfo=UTC))

    assert raised.value is error
    assert lake.batches() == leftovers(lake) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir(mode=0o500)

    with pytest.raises(
        LakeError, match=r"salesforce\.deal .*Permission denied.*Check that the folder can be written"
    ):
        land(Lake(folder), page(deal(1)))


def test_a_lake_whose_place_is_taken_by_a_file_is_named(tmp_path):
    (tmp_path / "lake").write_text("not a folder")

    with pytest.raises(
        LakeError, match=r"salesforce\.deal .*Not a directory.*Check that the folder can be written"
    ):
        land(Lake(tmp_path / "lake"), page(deal(1)))


TORN = {
    "empty": lambda whole: b"",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "zeroed": lambda whole: bytes(len(whole)),
    "its footer overwritten": lambda whole: whole[:-60] + b"\xff" * 40 + whole[-20:],
}


@pytest.mark.parametrize("how", TORN)
def test_reading_an_unreadable_file_says_which_it_is_and_what_to_do(lake, how):
    land(lake, page(deal(1)))
    (batch,) = lake.batches(DEALS)
    batch.path.write_bytes(TORN[how](batch.path.read_bytes()))

    with pytest.raises(LakeError) as refusal:
        lake.read(DEALS)

    message = str(refusal.value)
    assert message.startswith(f"salesforce.deal 2026-01-05: the lake's file {batch.path} can't be read (")
    assert message.endswith(
        "Restore it from a backup, or land the partition again, which puts the file aside: "
        "gtm run --from 2026-01-05 --to 2026-01-05"
    )


def test_a_damaged_file_of_the_partition_that_is_open_is_landed_again_up_to_now(lake):
    land(lake, page(deal(1)))
    (batch,) = lake.batches(DEALS)
    batch.path.write_bytes(b"")
    (batch.path.parent / "until=2026-01-06T0100Z").touch()

    with pytest.raises(LakeError, match=r"puts the file aside: gtm run --now$"):
        lake.read(DEALS)


@pytest.mark.parametrize("how", TORN)
def test_landing_the_partition_again_puts_an_unreadable_file_aside_and_lands_all(lake, how):
    land(lake, page(deal(1), deal(2)))
    land(lake, page(deal(1), deal(2), deal(3)))
    before = content(lake)
    torn = lake.batches(DEALS)[0].path
    torn.write_bytes(TORN[how](torn.read_bytes()))

    landed = land(lake, page(deal(1), deal(2), deal(3)))

    assert landed.added == 2
    assert landed.batch_id == "deal-2026-01-05-0002"
    assert content(lake) == before
    assert [path.name for path in leftovers(lake)] == ["deal-2026-01-05-0000.unreadable"]


def test_a_file_that_the_disk_refuses_for_now_is_not_put_aside(lake, monkeypatch):
    land(lake, page(deal(1)))
    with monkeypatch.context() as broken:
        fail_on(broken, pq, "read_metadata", 1, OSError(errno.EIO, "Input/output error"))
        with pytest.raises(LakeError, match="Check the disk and the folder's rights, then run again"):
            land(lake, page(deal(1), deal(2)))

    assert content(lake).total() == 1
    assert leftovers(lake) == []


def test_a_late_record_of_a_partition_with_an_unreadable_file_names_that_partition(lake):
    land(lake, page(deal(1, DAY)), partition=DAY)
    lake.batches(DEALS)[0].path.write_bytes(b"torn")

    with pytest.raises(LakeError, match=r"salesforce\.deal 2026-01-05: the lake's file .* can't be read"):
        land(lake, page(deal(1, DAY)), partition=NEXT)

    assert lake.partitions(DEALS) == [DAY]


def test_reading_a_table_that_has_not_landed_says_what_to_run(lake):
    with pytest.raises(LakeError, match=r"^salesforce\.deal: nothing has landed\. Run: gtm run$"):
        lake.read(DEALS)


# -- processes -------------------------------------------------------------------------------------------------


def start_landing(lake: Lake, pages: list[pl.DataFrame], begun: Path, go: Path, pause: float):
    process = PROCESSES.Process(
        target=land_in_a_process, args=(lake.root, CALENDAR.window(DAY), pages, begun, go, pause)
    )
    process.start()
    return process


def test_a_landing_killed_at_any_moment_leaves_nothing_that_matters(tmp_path):
    pages = [page(*(deal(n) for n in range(k, k + 40)), deal(k, lines="x")) for k in range(0, 240, 40)]
    pages[4] = pages[4].with_columns(new_c=pl.lit("n"))
    undisturbed = Lake(tmp_path / "undisturbed")
    land(undisturbed, *pages)
    go = tmp_path / "go"
    go.touch()
    alive_when_killed = 0

    for moment in range(10):
        lake, begun = Lake(tmp_path / f"killed at moment {moment}"), tmp_path / f"begun {moment}"
        process = start_landing(lake, pages, begun, go, pause=0.02)
        wait_for(begun)
        time.sleep(0.035 * moment)
        process.kill()
        process.join(30)
        alive_when_killed += process.exitcode == -9

        assert all(pq.read_table(batch.path).num_rows == 240 for batch in lake.batches())
        land(lake, *pages)

        assert content(lake) == content(undisturbed)
        assert lake.quarantined(DEALS)["record"].equals(undisturbed.quarantined(DEALS)["record"])
        assert leftovers(lake) == []
    assert alive_when_killed >= 4


def test_the_next_landing_of_a_partition_removes_what_a_killed_one_left(lake):
    land(lake, page(deal(1)))
    folder = lake.partition_dir(DEALS, DAY)
    for name in (".deal-2026-01-05-0007.tmp", ".deal-2026-01-05-0007.narrow.tmp"):
        (folder / name).write_bytes(b"half a file")

    land(lake, page(deal(1)))

    assert leftovers(lake) == []
    assert content(lake).total() == 1


def test_processes_that_land_the_same_partition_at_once_land_each_version_once(tmp_path):
    lake, go = Lake(tmp_path / "lake"), tmp_path / "go"
    pages = [page(*(deal(n) for n in range(k, k + 30)), deal(k, lines="x")) for k in (0, 20, 40, 60)]
    processes = [start_landing(lake, pages, tmp_path / "begun", go, pause=0.01) for _ in range(3)]

    go.touch()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    versions = content(lake)
    assert versions.total() == len(versions) == 90
    assert len(lake.batches(DEALS)) == 1
    assert lake.quarantined(DEALS).height == 4


def test_a_landing_of_another_table_waits_for_nobody(tmp_path):
    lake, begun, go = Lake(tmp_path / "lake"), tmp_path / "begun", tmp_path / "go"
    go.touch()
    slow = start_landing(lake, [page(deal(1))], begun, go, pause=60)
    wait_for(begun)

    landed = land(lake, page(deal(1)), table=replace(DEALS, name="other"))
    still_landing = slow.is_alive()
    slow.kill()
    slow.join(30)

    assert landed.added == 1
    assert still_landing


# -- reading ---------------------------------------------------------------------------------------------------


def test_batches_are_named_by_table_partition_and_id_in_order(lake):
    land(lake, page(deal(1, NEXT)), partition=NEXT)
    land(lake, page(deal(1), deal(2, lines="x")))
    land(lake, page(deal(3)))
    land(lake, page(deal(1)), table=replace(DEALS, name="other"))

    named = [(batch.table, batch.partition, batch.batch_id) for batch in lake.batches()]

    assert named == [
        ("salesforce.deal", DAY, "deal-2026-01-05-0000"),
        ("salesforce.deal", DAY, "deal-2026-01-05-0001"),
        ("salesforce.deal", NEXT, "deal-2026-01-06-0000"),
        ("salesforce.other", DAY, "other-2026-01-05-0000"),
    ]
    assert lake.partitions(DEALS) == [DAY, NEXT]
    assert lake.quarantined(replace(DEALS, name="other")).is_empty()


def test_versions_landed_before_a_column_changed_its_type_are_still_read(lake):
    land(lake, page(deal(1, lines="3")))
    land(lake, page(deal(2, lines="2.5")), table=with_type(DEALS, "lines", ColumnType.DOUBLE))
    land(lake, page(deal(3, lines="few")), table=with_type(DEALS, "lines", ColumnType.STRING))

    rows = lake.read(DEALS).sort("id").collect()

    assert rows.height == 3
    assert rows["lines"].dtype == pl.String
    assert rows["lines"].to_list()[2] == "few"


def test_of_batches_from_before_and_after_a_column_came_both_are_read_and_one_that_none_has_is_left_out(lake):
    fewer = replace(DEALS, columns=tuple(c for c in DEALS.columns if c.name != "lines"))
    row = deal(1)
    del row["lines"]
    land(lake, page(row), table=fewer)

    assert lake.versions(lake.batches(DEALS), ["id", "lines"]).columns == ["id", "_partition_key"]

    land(lake, page(deal(2, NEXT, lines="3")), partition=NEXT)
    both = lake.versions(lake.batches(DEALS), ["id", "lines"])

    assert dict(both.select("_partition_key", "lines").iter_rows()) == {DAY: None, NEXT: 3}
    assert both.schema["lines"] == DEALS.types["lines"].polars


def test_a_page_of_any_arrow_text_type_lands(lake):
    frame = pl.from_arrow(
        page(deal(1)).to_arrow().cast(pa.schema([(name, pa.large_string()) for name in deal(1)]))
    )

    assert land(lake, frame).added == 1
