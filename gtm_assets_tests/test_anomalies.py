"""What is unusual: silent on a made-up org's normal life, and found on the day on which it is planted."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.checks import anomalies
from gtm_assets.lake.profile import PARTITION, profile
from gtm_assets.lake.summary import RECENT_DAYS
from gtm_assets.partitions import Calendar
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg

CALENDAR = Calendar(date(2026, 5, 1), date(2026, 7, 15))
DAYS = [(date(2026, 5, 2) + timedelta(days)).isoformat() for days in range(74)]
TABLES = {table.name: table for table in OBJECTS}
LAST = DAYS[-1]


@pytest.fixture(scope="module")
def org_days() -> dict[str, pl.DataFrame]:
    """Ten weeks of the busiest tables, a quarter's end among them, with the day on which each record came."""
    org = SyntheticOrg(seed=4, scale=0.05)
    found = {}
    for name in ("opportunity", "task", "lead", "contact", "event"):
        pages = []
        for day in DAYS:
            for page in org.changes(TABLES[name], CALENDAR.window(day)):
                pages.append(page.unique("id").with_columns(pl.lit(day).alias(PARTITION)))
        found[name] = pl.concat(pages, how="diagonal_relaxed")
    return found


def counts(records: pl.DataFrame) -> dict[str, int]:
    return dict.fromkeys(DAYS, 0) | dict(records.group_by(PARTITION).len().iter_rows())


def window(records: pl.DataFrame, day: str) -> pl.DataFrame:
    since = (date.fromisoformat(day) - timedelta(RECENT_DAYS)).isoformat()
    return records.filter(pl.col(PARTITION).is_between(pl.lit(since), pl.lit(day)))


def unusual_shares(records: pl.DataFrame, types: dict[str, ColumnType], day: str) -> list[anomalies.Share] | None:
    found = profile(records, types, day)
    return None if found is None else anomalies.unusual_shares(found)


def test_ten_normal_weeks_raise_no_alarm(org_days):
    judged = 0
    for name, records in org_days.items():
        types = {c: t for c, t in TABLES[name].types.items() if c in records.columns}
        for day in DAYS[RECENT_DAYS:]:
            assert not anomalies.volume(counts(records), day, 0.2).unusual, (name, day)
            shares = unusual_shares(window(records, day), types, day)
            assert not shares, (name, day, shares)
            judged += shares is not None
    assert judged > 150


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_a_day_with_half_none_or_twice_its_records_is_found(org_days, factor):
    found = counts(org_days["task"])
    usual = anomalies.volume(found, LAST, 0.2)

    found[LAST] = int(found[LAST] * factor)
    planted = anomalies.volume(found, LAST, 0.2)

    assert not usual.unusual
    assert planted.unusual
    assert planted.expected == usual.expected


def test_what_is_within_the_tolerance_is_not_unusual_however_large_the_table():
    steady = dict.fromkeys(DAYS, 1000000)

    assert not anomalies.volume(steady | {LAST: 1_190_000}, LAST, 0.2).unusual
    assert anomalies.volume(steady | {LAST: 1_210_000}, LAST, 0.2).unusual
    assert anomalies.volume(steady | {LAST: 790_000}, LAST, 0.2).unusual


@pytest.mark.parametrize("usual", [0, 9])
def test_a_quiet_table_is_not_judged(usual):
    quiet = dict.fromkeys(DAYS, usual) | {LAST: 400}

    assert anomalies.volume(quiet, LAST, 0.2).expected is None


@pytest.mark.parametrize(
    ("last", "first_month", "unusual"),
    [
        ("2026-09-20", 1, True),
        ("2026-09-21", 1, False),
        ("2026-10-10", 1, False),
        ("2026-10-11", 1, True),
        ("2026-09-30", 2, True),
        ("2026-10-30", 2, False),
    ],
)
def test_around_the_end_of_a_quarter_twice_the_tolerance_is_usual(last, first_month, unusual):
    days = [(date.fromisoformat(last) - timedelta(days)).isoformat() for days in range(30)]
    steady = dict.fromkeys(days, 1000)

    assert anomalies.volume(steady | {last: 1390}, last, 0.2, first_month).unusual == unusual
    assert anomalies.volume(steady | {last: 1410}, last, 0.2, first_month).unusual


def test_a_quarters_end_of_a_large_org_raises_no_alarm():
    org, table = SyntheticOrg(seed=1, scale=1), TABLES["opportunity"]
    calendar = Calendar(date(2026, 8, 20), date(2026, 10, 3))
    days = [(date(2026, 8, 21) + timedelta(days)).isoformat() for days in range(44)]
    found = {day: sum(page.height for page in org.changes(table, calendar.window(day))) for day in days}

    judged = [anomalies.volume(found, day, 0.2) for day in days[21:]]

    assert [volume for volume in judged if volume.unusual] == []
    assert max(volume.records / volume.expected for volume in judged if volume.expected) > 1.2


@pytest.mark.parametrize(
    ("column", "spoil"),
    [
        ("owner_id", pl.lit(None, pl.String())),
        ("status", pl.lit("Migrated")),
        ("is_closed", pl.lit(False)),
    ],
)
def test_a_column_that_is_emptied_renamed_or_stuck_is_found_on_that_day(org_days, column, spoil):
    tasks = window(org_days["task"], LAST)
    types = {c: t for c, t in TABLES["task"].types.items() if c in tasks.columns}
    today = pl.col(PARTITION) == LAST

    planted = tasks.with_columns(pl.when(today).then(spoil).otherwise(pl.col(column)).alias(column))

    assert not unusual_shares(tasks, types, LAST)
    assert [share.column for share in unusual_shares(planted, types, LAST)] == [column]


def test_amounts_in_cents_are_found():
    records = pl.DataFrame(
        {
            PARTITION: [day for day in DAYS[-29:] for _ in range(40)],
            "amount": [float(1000 + 37 * i % 900) for i in range(29 * 40)],
        }
    )
    today = pl.col(PARTITION) == LAST
    cents = records.with_columns(
        pl.when(today).then(pl.col("amount") * 100).otherwise(pl.col("amount")).alias("amount")
    )

    (share,) = unusual_shares(cents, {"amount": ColumnType.CURRENCY}, LAST)

    assert not unusual_shares(records, {"amount": ColumnType.CURRENCY}, LAST)
    assert share.share == 0.0
    assert share.what.startswith("<= ")
