"""Dagster's own daemon drives the platform: each day lands at its end and is published ten minutes on."""

from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest
from dagster import DagsterRun, DagsterRunStatus

from gtm_assets import clock
from gtm_assets.checks.freshness import LANDED, PUBLISHED
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.runs import INTRADAY_TAG
from gtm_assets.settings import Settings, load_settings
from gtm_assets.sources.registry import raw_tables
from gtm_assets_tests.daemon import Daemon, daemon, la

pytestmark = pytest.mark.slow


def at(record) -> datetime:
    """When a run began, by the clock that the test set."""
    return datetime.fromtimestamp(record.start_time, UTC)


@pytest.mark.parametrize("days", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_days_and_a_sunday_across_the_change_to_summer_time(tmp_path, days):
    """By default everything is switched on: the settings say nothing of days."""
    settings = load_settings({"GTM_HOME": str(tmp_path / "gtm"), "GTM_SYNTHETIC_SCALE": "0.001"})
    settings.home.mkdir()
    settings.calendar_path.write_text('{"first_partition": "2026-03-07"}')
    with daemon(settings) as d:
        assert d.at(la(2026, 3, 8, 21, 40)) == []

        first = [*d.at(la(2026, 3, 8, 21, 49)), *d.at(la(2026, 3, 8, 22, 0)), *d.at(la(2026, 3, 9, 21, 40))]
        # The eighth of March is a Sunday too: all is taken once more, for the day that has just landed.
        assert ended(first) == ["extract", "transform", "full_extraction", "measure"]
        assert first[2].tags["dagster/partition"] == "2026-03-07"
        assert_at_its_end(d, first, "2026-03-07", datetime(2026, 3, 9, 4, 49, tzinfo=UTC))
        assert published(settings) == [("2026-03-07", "2026-03-07", 1)]
        if days == 1:
            return

        second = [*d.at(la(2026, 3, 9, 21, 49)), *d.at(la(2026, 3, 9, 22, 0)), *d.at(la(2026, 3, 9, 23, 30))]
        assert ended(second) == ["extract", "transform", "measure"]
        assert_at_its_end(d, second, "2026-03-08", datetime(2026, 3, 10, 4, 49, tzinfo=UTC))
        assert published(settings) == [("2026-03-07", "2026-03-08", 2)]


@pytest.mark.nightly
def test_one_source_is_refreshed_within_the_day_and_the_partitions_own_run_is_as_ever(tmp_path):
    """Pipedrive stays daily. A machine that sleeps through ticks makes up for the newest alone."""
    given = {"GTM_SYNTHETIC_SCALE": "0.001", "GTM_SALESFORCE_REFRESH": "hourly"}
    settings = load_settings({"GTM_HOME": str(tmp_path / "gtm")} | given)
    settings.home.mkdir()
    settings.calendar_path.write_text('{"first_partition": "2026-03-09"}')
    lake = Lake(settings.lake_dir)
    salesforce, pipedrive = (
        next(table for table in raw_tables(settings) if table.qualified_name == name)
        for name in ("salesforce.opportunity", "pipedrive.activity")
    )
    with daemon(settings) as d:
        d.at(la(2026, 3, 10, 20, 49))
        own = [*d.at(la(2026, 3, 10, 21, 49)), *d.at(la(2026, 3, 10, 22, 0))]
        assert ended(own) == ["extract", "transform"]

        # The weekly and monthly runs are of other days. At 23:30 the day is measured.
        (first,) = d.at(la(2026, 3, 10, 22, 49))
        assert first.job_name == "refresh" and first.tags[INTRADAY_TAG] == "2026-03-11T05:49:00+00:00"
        assert as_of(settings) == datetime(2026, 3, 11, 5, 49, tzinfo=UTC)
        assert lake.landed_early(salesforce) == {"2026-03-10": as_of(settings)}
        assert lake.partitions(pipedrive) == ["2026-03-09"]
        assert d.at(la(2026, 3, 10, 23, 20)) == []

        # It sleeps until noon.
        slept = d.at(la(2026, 3, 11, 12, 5))
        assert sorted(ended(slept)) == ["measure", "refresh"]
        assert as_of(settings) == la(2026, 3, 11, 11, 49)

        own = [*d.at(la(2026, 3, 11, 21, 49)), *d.at(la(2026, 3, 11, 22, 0))]
        assert ended(own) == ["extract", "transform"]
        assert as_of(settings) == la(2026, 3, 11, 21, 49)
        assert lake.landed_early(salesforce) == {} and lake.has_landed(pipedrive, "2026-03-10")
        assert not_fresh(d) == []
        said = [tick.skip_reason for tick in d.ticks("refresh_intraday") if tick.skip_reason]
        assert "Partition 2026-03-10 ends at this minute: its own run is due." in said


def as_of(settings: Settings) -> datetime:
    with duckdb.connect(str(settings.published_path), read_only=True) as connection:
        ((instant,),) = connection.execute("select as_of from gtm_meta.publication").fetchall()
    return instant


def ended(runs: list[DagsterRun]) -> list[str]:
    """The jobs of runs, all of which succeeded."""
    assert {run.status for run in runs} == {DagsterRunStatus.SUCCESS}
    return [run.job_name for run in runs]


def assert_at_its_end(d: Daemon, runs: list[DagsterRun], day: str, end: datetime) -> None:
    """The day landed within five minutes of its end, and was built ten minutes after that end."""
    extraction, transform = (d.instance.get_run_record_by_id(run.run_id) for run in runs[:2])
    assert extraction.dagster_run.tags["dagster/partition"] == day
    assert all(run.tags["dagster/max_retries"] == "2" for run in runs[:2])
    assert timedelta(0) <= at(extraction) - end <= timedelta(minutes=5)
    assert timedelta(minutes=10) <= at(transform) - end <= timedelta(minutes=16)


def published(settings: Settings) -> list[tuple]:
    with duckdb.connect(str(settings.published_path), read_only=True) as connection:
        return connection.execute(
            "select first_partition, last_partition, partition_count from gtm_meta.publication"
        ).fetchall()


def not_fresh(d: Daemon) -> list[str]:
    """Checks of freshness that say so at last."""
    keys = [key for key in d.repository.asset_graph.asset_check_keys if key.name in (LANDED, PUBLISHED)]
    records = d.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert records.keys() == set(keys)
    return [key.to_user_string() for key, record in records.items() if not record.evaluation.passed]


@pytest.mark.nightly
def test_a_fresh_state_folder_lives_by_itself_and_catches_up_after_a_week_asleep(tmp_path, monkeypatch):
    settings = load_settings({"GTM_HOME": str(tmp_path / "gtm"), "GTM_SYNTHETIC_SCALE": "0.001"})
    opened = la(2026, 3, 7, 21, 40)
    with monkeypatch.context() as at_first:
        at_first.setattr(clock, "now", lambda: opened)
        assert Calendar.begin(settings).closed(opened)[0] == "2026-02-04"
    lake = Lake(settings.lake_dir)
    with daemon(settings) as d:
        # `make dev` on nothing: the 30 days that are over are landed in one run, built and published.
        assert ended(d.at(opened)) == ["extract", "transform"]
        assert published(settings) == [("2026-02-04", "2026-03-05", 30)]
        assert not_fresh(d) == []

        # A boundary passes.
        passed = [*d.at(la(2026, 3, 7, 21, 49)), *d.at(la(2026, 3, 7, 22, 0))]
        assert ended(passed) == ["extract", "transform"]
        assert published(settings) == [("2026-02-04", "2026-03-06", 31)]

        # The laptop sleeps for a week, across the change to summer time, and is opened at noon.
        caught_up = [*d.at(la(2026, 3, 14, 12, 0)), *d.until(la(2026, 3, 14, 16, 0))]

        assert {"extract", "transform"} <= set(ended(caught_up))
        assert published(settings) == [("2026-02-04", "2026-03-12", 37)]
        assert not_fresh(d) == []
        over = Calendar.of(settings).closed(d.now)
        for table in raw_tables(settings):
            assert lake.partitions(table) == over, table.name
            # The newest day landed first, so a version that the source showed on two days is in both of them.
            for day in over if table.source == "salesforce" else ():
                files = lake.partition_dir(table, day).glob("*.parquet")
                hashes = pl.concat([pl.read_parquet(file, columns=["_version_hash"]) for file in files])
                assert hashes.is_unique().all(), f"{table.name} {day}"
