"""A raw asset: lands its partitions, says what it did, and lets what fits pass where some records don't."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from gtm_assets.lake import Lake
from gtm_assets.partitions import Calendar, Window
from gtm_assets.sources.salesforce.assets import QUARANTINE_CHECK, asset_key, raw_asset
from gtm_assets.sources.salesforce.catalog import OBJECTS

CONTACT = next(table for table in OBJECTS if table.name == "contact")
CALENDAR = Calendar(date(2026, 1, 1), date(2026, 1, 31))


class Org:
    """Three contacts a day; on the days in `spoilt` one of them has a birthday for a flag."""

    def __init__(self, *spoilt: str) -> None:
        self.spoilt = spoilt
        self.asked: list[str] = []

    def changes(self, table, window: Window):
        self.asked.append(window.key)
        modified = window.end - timedelta(hours=1)
        flag = "1980-02-30" if window.key in self.spoilt else "true"
        yield pl.DataFrame(
            {
                "id": [f"003{window.key}{i}" for i in range(3)],
                "has_opted_out_of_email": ["true", "false", flag],
                "system_modstamp": [modified] * 3,
                "shoe_size_c": ["41", "42", "43"],
            }
        )

    def known_at(self, window: Window) -> datetime:
        return window.end


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


def land(instance, lake: Lake, org: Org, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    return dg.materialize(
        [raw_asset(CONTACT, CALENDAR)],
        instance=instance,
        resources={"org": org, "lake": lake},
        partition_key=None if last else first,
        tags=tags if last else None,
    )


def test_a_range_lands_each_of_its_days_in_one_step_with_metadata_of_its_own(instance, lake):
    org = Org()

    result = land(instance, lake, org, "2026-01-05", "2026-01-07")

    days = ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert org.asked == lake.partitions(CONTACT) == days
    events = {
        e.partition: e.step_materialization_data.materialization.metadata
        for e in result.get_asset_materialization_events()
    }
    assert sorted(events) == days
    assert {m["batch_id"].value for m in events.values()} == {f"contact-{day}-0000" for day in days}
    metadata = events["2026-01-06"]
    assert (metadata["rows_received"].value, metadata["dagster/partition_row_count"].value) == (3, 3)
    assert metadata["quarantined"].value == 0
    assert (
        metadata["bytes"].value == next(lake.partition_dir(CONTACT, "2026-01-06").glob("*.parquet")).stat().st_size
    )
    newest = datetime.fromtimestamp(metadata["newest_cursor"].value, UTC)
    assert newest == CALENDAR.window("2026-01-06").end - timedelta(hours=1)
    types = {column.name: column.type for column in metadata["dagster/column_schema"].value.columns}
    assert types["system_modstamp"] == "timestamp with time zone"
    assert types["shoe_size_c"] == "varchar"
    assert metadata["columns_not_in_catalogue"].value == "shoe_size_c"
    assert "last_name" in metadata["columns_not_received"].value


def test_the_first_partition_is_asked_for_all_history_and_the_next_for_its_day():
    assert CALENDAR.window("2026-01-01").start is None
    assert CALENDAR.window("2026-01-02").start == CALENDAR.window("2026-01-01").end


def test_landing_again_reports_that_nothing_was_new(instance, lake):
    land(instance, lake, Org(), "2026-01-05")

    again = land(instance, lake, Org(), "2026-01-05")

    (event,) = again.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 0
    assert metadata["batch_id"].value.startswith("none")


def test_records_that_do_not_fit_are_told_and_the_rest_lands(instance, lake):
    result = land(instance, lake, Org("2026-01-06"), "2026-01-05", "2026-01-06")

    assert result.success
    assert lake.read(CONTACT).select(pl.len()).collect().item() == 5
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == (
        QUARANTINE_CHECK,
        False,
        dg.AssetCheckSeverity.WARN,
    )
    assert "1 records of salesforce.contact wait in quarantine" in check.description
    assert check.metadata["records"].value == 1
    (row,) = check.metadata["first"].value.records
    assert row.data["record_id"] == "0032026-01-062"
    assert "has_opted_out_of_email is not true or false: '1980-02-30'" in row.data["reason"]
    problems = {
        e.partition: e.step_materialization_data.materialization.metadata.get("problems")
        for e in result.get_asset_materialization_events()
    }
    assert problems["2026-01-05"] is None
    assert "salesforce.contact 2026-01-06: has_opted_out_of_email" in problems["2026-01-06"].value


def test_the_check_passes_once_nothing_waits(instance, lake):
    result = land(instance, lake, Org(), "2026-01-05")

    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert check.asset_key == asset_key(CONTACT) == dg.AssetKey(["salesforce", "contact"])


def test_a_source_that_fails_lands_nothing_of_that_day_and_keeps_the_days_before(instance, lake):
    class Breaking(Org):
        def changes(self, table, window):
            yield from super().changes(table, window)
            if window.key == "2026-01-06":
                raise ConnectionError("the source hung up")

    with pytest.raises(ConnectionError, match="hung up"):
        land(instance, lake, Breaking(), "2026-01-05", "2026-01-06")

    assert lake.partitions(CONTACT) == ["2026-01-05"]
    assert [path.name for path in lake.partition_dir(CONTACT, "2026-01-06").iterdir()] == []
