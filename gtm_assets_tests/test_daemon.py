"""Dagster's own daemon drives the platform: each day lands at its end and is published ten minutes on."""

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from dagster import DagsterRunStatus

from gtm_assets.settings import load_settings
from gtm_assets_tests.daemon import daemon, la

pytestmark = pytest.mark.slow


def at(record) -> datetime:
    """When a run began, by the clock that the test set."""
    return datetime.fromtimestamp(record.start_time, UTC)


def test_two_days_and_a_sunday_across_the_change_to_summer_time(tmp_path):
    settings = load_settings(
        {
            "GTM_HOME": str(tmp_path / "gtm"),
            "GTM_START_DATE": "2026-03-07",
            "GTM_END_DATE": "open",
            "GTM_SYNTHETIC_SCALE": "0.001",
        }
    )
    with daemon(settings) as d:
        assert d.at(la(2026, 3, 8, 21, 40)) == []

        first = [*d.at(la(2026, 3, 8, 21, 49)), *d.at(la(2026, 3, 8, 22, 0)), *d.at(la(2026, 3, 9, 21, 40))]
        second = [*d.at(la(2026, 3, 9, 21, 49)), *d.at(la(2026, 3, 9, 22, 0)), *d.at(la(2026, 3, 9, 23, 30))]

        # The eighth of March is a Sunday too: all is taken once more, for the day that has just landed.
        assert [(run.job_name, run.status) for run in first + second] == [
            ("extract", DagsterRunStatus.SUCCESS),
            ("transform", DagsterRunStatus.SUCCESS),
            ("full_refresh", DagsterRunStatus.SUCCESS),
            ("measure", DagsterRunStatus.SUCCESS),
            ("extract", DagsterRunStatus.SUCCESS),
            ("transform", DagsterRunStatus.SUCCESS),
            ("measure", DagsterRunStatus.SUCCESS),
        ]
        assert first[2].tags["dagster/partition"] == "2026-03-07"
        for runs, day, end in (
            (first[:2], "2026-03-07", datetime(2026, 3, 9, 4, 49, tzinfo=UTC)),
            (second[:2], "2026-03-08", datetime(2026, 3, 10, 4, 49, tzinfo=UTC)),
        ):
            extraction, transform = (d.instance.get_run_record_by_id(run.run_id) for run in runs)
            assert extraction.dagster_run.tags["dagster/partition"] == day
            assert all(run.tags["dagster/max_retries"] == "2" for run in runs)
            assert timedelta(0) <= at(extraction) - end <= timedelta(minutes=5)
            assert timedelta(minutes=10) <= at(transform) - end <= timedelta(minutes=16)
        with duckdb.connect(str(settings.published_path), read_only=True) as published:
            assert published.execute(
                "select first_partition, last_partition, partition_count from gtm_meta.publication"
            ).fetchall() == [("2026-03-07", "2026-03-08", 2)]
