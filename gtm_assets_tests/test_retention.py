"""Retention: superseded versions go, and what is known as of the instant or later stays what it was."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.dbt.project import manifest_path
from gtm_assets.errors import LakeError
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, PartitionError
from gtm_assets.privacy.retention import days_kept, of_histories, retain_lake
from gtm_assets.publishing.as_of import build_as_of
from gtm_assets.settings import SettingsError, load_settings
from gtm_assets.sources.registry import raw_tables
from gtm_assets_tests.lake_builders import DEALS, page

CALENDAR = Calendar(date(2026, 1, 1), date(2026, 1, 31))
DAYS = [date(2026, 1, 1) + timedelta(day) for day in range(6)]


def land(lake: Lake, day: date, records: list[tuple[int, int, str, bool]], late: int = 0) -> None:
    """Records of a partition: number, hour of the cursor, amount, whether deleted; known so many days late."""
    window = CALENDAR.window(str(day))
    rows = [
        {
            "id": f"006{number:015d}",
            "name": "Deal",
            "amount": amount,
            "system_modstamp": f"{window.end - timedelta(hours=hour):%Y-%m-%dT%H:%M:%S.000Z}",
            "is_deleted": str(deleted).lower(),
        }
        for number, hour, amount, deleted in records
    ]
    lake.land(DEALS, window, [page(*rows)] if rows else [], window.end + timedelta(days=late))


def newest_as_of(lake: Lake, instant: datetime) -> dict[str, str]:
    """The hash of the newest version of each record that was known, by the rule of the base models."""
    partitions = {batch.batch_id: batch.partition for batch in lake.batches(DEALS)}
    versions: dict[tuple[str, str], tuple] = {}
    for row in lake.read(DEALS).collect().iter_rows(named=True):
        if row["_known_at"] <= instant:
            seen = (partitions[row["_batch_id"]], row["_batch_id"])
            key = (row["id"], row["_version_hash"])
            rank = (row["system_modstamp"], seen[0], row["is_deleted"], row["_version_hash"])
            if key not in versions or seen < versions[key][0]:
                versions[key] = (seen, rank)
    newest: dict[str, tuple] = {}
    for (id_, hash_), (_, rank) in versions.items():
        newest[id_] = max(newest.get(id_, ((datetime.min.replace(tzinfo=UTC),), "")), (rank, hash_))
    return {id_: hash_ for id_, (_, hash_) in newest.items()}


RECORDS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.sampled_from(["1.5", "2.5"]), st.booleans()), max_size=4
)


@given(
    landings=st.lists(st.tuples(st.sampled_from(DAYS), RECORDS, st.integers(0, 4)), min_size=1, max_size=8),
    retained=st.integers(0, 8),
    merges=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_known_as_of_the_instant_or_later_stays(tmp_path_factory, landings, retained, merges):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    for day, records, late in landings:
        land(lake, day, records, late)
    if merges:
        land(lake, date(2026, 1, 31), [])
        lake.compact(DEALS)
    before = CALENDAR.window(str(DAYS[0])).end + timedelta(days=retained)
    instants = [before + timedelta(hours=hours) for hours in range(0, 24 * 12, 12)]
    seen = [newest_as_of(lake, instant) for instant in instants]
    batches = [(batch.partition, batch.batch_id) for batch in lake.batches(DEALS)]
    rows = lake.read(DEALS).collect().height

    would = lake.retain(DEALS, before, is_dry=True)
    assert lake.read(DEALS).collect().height == rows
    done = lake.retain(DEALS, before)

    assert [newest_as_of(lake, instant) for instant in instants] == seen
    assert (done.versions, done.files) == (would.versions, would.files)
    assert lake.read(DEALS).collect().height == rows - done.versions
    assert [(batch.partition, batch.batch_id) for batch in lake.batches(DEALS)] == batches
    assert lake.marks(DEALS).retained_since() == (before if done.versions else None)
    assert lake.retain(DEALS, before).versions == 0
    for batch in lake.batches(DEALS):
        lake.verify(batch)


def test_superseded_versions_go_and_the_newest_and_the_recent_stay(tmp_path):
    lake = Lake(tmp_path)
    for day, amount in zip(DAYS, "123456", strict=True):
        land(lake, day, [(1, 1, amount, False), *([(2, 1, "9", False)] if day == DAYS[0] else [])])
    done = lake.retain(DEALS, CALENDAR.window(str(DAYS[3])).end)
    assert done.versions == 3
    left = lake.read(DEALS).collect().sort("id", "system_modstamp")
    amounts = [(id_[-1], float(amount)) for id_, amount in left.select("id", "amount").iter_rows()]
    assert amounts == [("1", 4.0), ("1", 5.0), ("1", 6.0), ("2", 9.0)]
    # A record that comes again as it was is no newer than what there is.
    land(lake, DAYS[0], [(1, 1, "1", False)])
    newest = newest_as_of(lake, CALENDAR.window(str(DAYS[5])).end)
    assert newest[f"006{1:015d}"] == left.filter(pl.col("amount") == 6)["_version_hash"][0]


def test_tables_with_a_history_keep_everything_and_those_with_amounts_for_longer():
    manifest = json.loads(manifest_path().read_text())
    needed = of_histories(manifest)
    names = {f"{source}.{table}" for source, table in needed}
    assert {
        "salesforce.account", "salesforce.contact", "salesforce.user", "salesforce.opportunity",
        "salesforce.forecasting_item",
    } <= names  # fmt: skip
    assert not {"salesforce.task", "salesforce.lead", "salesforce.campaign"} & names
    given = load_settings({"GTM_RETENTION_DAYS": "90", "GTM_RETENTION_OF_TABLES": "salesforce.lead=30"})
    days = {table.qualified_name: days_kept(given, table) for table in raw_tables(given)}
    assert (days["salesforce.task"], days["salesforce.lead"], days["salesforce.campaign"]) == (90, 30, 2557)
    assert not any(days_kept(load_settings({}), table) for table in raw_tables(given))
    for wrong in ("salesforce.lead", "lead=3", "salesforce.lead=0", "salesforce.lead=3;"):
        with pytest.raises(SettingsError, match=r"write salesforce.task=730"):
            load_settings({"GTM_RETENTION_OF_TABLES": wrong})


def test_it_follows_the_settings_and_a_day_before_is_refused_as_of(tmp_path: Path):
    days = {"GTM_START_DATE": "2026-01-01", "GTM_END_DATE": "2026-01-31", "GTM_HOME": str(tmp_path)}
    given = load_settings({**days, "GTM_RETENTION_DAYS": "2"})
    task = next(table for table in raw_tables(given) if table.qualified_name == "salesforce.task")
    table = replace(DEALS, source=task.source, name=task.name)
    lake = Lake.of(given)
    assert not any(column.type is ColumnType.CURRENCY for column in task.columns)
    for day in DAYS:
        window = CALENDAR.window(str(day))
        row = {"id": "00T1", "system_modstamp": f"{window.end - timedelta(hours=1):%Y-%m-%dT%H:%M:%S.000Z}"}
        lake.land(task, window, [page({**row, "is_deleted": "false"})], window.end)
    now = CALENDAR.window(str(DAYS[-1])).end
    said: list[str] = []

    manifest = json.loads(manifest_path().read_text())
    assert sum(one.versions for one in retain_lake(given, [task], manifest, now, said.append, is_dry=True)) == 3
    assert lake.read(task).collect().height == 6
    retain_lake(given, [task], manifest, now, said.append)
    assert lake.read(task).collect().height == 3
    assert said[-1] == "salesforce.task: 3 versions superseded for more than 2 days went, in 3 files."
    with pytest.raises(
        PartitionError, match=r"of salesforce\.task, versions that were superseded before 2026-01-06 05:49 UTC"
    ):
        build_as_of(given, "2026-01-04", said.append)
    assert retain_lake(load_settings(days), [table], manifest, now) == []
    with pytest.raises(LakeError, match=r"names salesforce\.nothing, which is no table"):
        retain_lake(
            load_settings({**days, "GTM_RETENTION_DAYS": "2", "GTM_RETENTION_OF_TABLES": "salesforce.nothing=3"}),
            [task],
            manifest,
            now,
        )
    other = {"GTM_ENGINE": "postgres", "GTM_WAREHOUSE_URL": "postgresql://a:b@127.0.0.1:1/c"}
    with pytest.raises(LakeError, match="GTM_RETENTION_DAYS is for GTM_ENGINE=duckdb"):
        retain_lake(load_settings({**days, **other, "GTM_RETENTION_DAYS": "2"}), [task], manifest, now)
