"""A raw asset: lands its partitions, says what it did, and lets what fits pass where some records don't."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from gtm_assets.checks.raw import DRIFT, QUARANTINE, VALUES, VOLUME, Limits
from gtm_assets.lake import Lake
from gtm_assets.partitions import Calendar, Window
from gtm_assets.sources.salesforce.assets import asset_key, raw_asset
from gtm_assets.sources.salesforce.catalog import OBJECTS

CONTACT = next(table for table in OBJECTS if table.name == "contact")
CALENDAR = Calendar(date(2026, 1, 1), date(2026, 1, 31))
READ = {"id", "has_opted_out_of_email"}
LIMITS = Limits(volume_tolerance=0.2, quarantine_share=0.5)


class Org:
    """Three contacts a day; on the days in `spoilt` one of them has a birthday for a flag."""

    def __init__(self, *spoilt: str, without: str | None = None) -> None:
        self.spoilt, self.without = spoilt, without
        self.asked: list[str] = []

    def changes(self, table, window: Window):
        self.asked.append(window.key)
        modified = window.end - timedelta(hours=1)
        flag = "1980-02-30" if window.key in self.spoilt else "true"
        page = pl.DataFrame(
            {
                "id": [f"003{window.key}{i}" for i in range(3)],
                "has_opted_out_of_email": ["true", "false", flag],
                "system_modstamp": [modified] * 3,
                "shoe_size_c": ["41", "42", "43"],
            }
        )
        yield page.drop(self.without) if self.without else page

    def known_at(self, window: Window) -> datetime:
        return window.end


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


def land(
    instance, lake: Lake, org: Org, first: str, last: str | None = None, raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    return dg.materialize(
        [raw_asset(CONTACT, CALENDAR, READ, LIMITS)],
        instance=instance,
        resources={"org": org, "lake": lake},
        partition_key=None if last else first,
        tags=tags if last else None,
        raise_on_error=raise_on_error,
    )


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


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
    check = checks(result)[QUARANTINE]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "1 records of salesforce.contact wait in quarantine" in check.description
    assert check.metadata["records"].value == 1
    (row,) = check.metadata["sample"].value.records
    assert row.data["record_id"] == "0032026-01-062"
    assert "has_opted_out_of_email is not true or false: '1980-02-30'" in row.data["reason"]
    problems = {
        e.partition: e.step_materialization_data.materialization.metadata.get("problems")
        for e in result.get_asset_materialization_events()
    }
    assert problems["2026-01-05"] is None
    assert "salesforce.contact 2026-01-06: has_opted_out_of_email" in problems["2026-01-06"].value


def test_every_check_is_made_and_passes_where_all_is_well(instance, lake):
    result = land(instance, lake, Org(), "2026-01-05")

    found = checks(result)
    assert set(found) == {QUARANTINE, DRIFT, VOLUME, VALUES}
    assert all(check.passed for check in found.values())
    assert (
        {c.asset_key for c in found.values()} == {asset_key(CONTACT)} == {dg.AssetKey(["salesforce", "contact"])}
    )
    assert "New columns, landed as text and read by no model: shoe_size_c" in found[DRIFT].description


def test_a_column_that_models_read_and_that_is_gone_is_an_error_that_blocks_nothing(instance, lake):
    land(instance, lake, Org(), "2026-01-05")

    result = land(instance, lake, Org(without="has_opted_out_of_email"), "2026-01-06")

    check = checks(result)[DRIFT]
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.ERROR, False)
    assert "salesforce.contact no longer returns has_opted_out_of_email, which models read" in check.description


def test_a_partition_that_went_mostly_to_quarantine_blocks_until_it_is_repaired(instance, lake):
    class Broken(Org):
        def changes(self, table, window):
            for page in super().changes(table, window):
                yield page.with_columns(has_opted_out_of_email=pl.lit("maybe"))

    class Repaired(Org):
        def changes(self, table, window):
            modified = window.end - timedelta(hours=1)
            for page in super().changes(table, CALENDAR.window("2026-01-06")):
                yield page.with_columns(system_modstamp=pl.lit(modified))

    land(instance, lake, Org(), "2026-01-05")
    broken = checks(land(instance, lake, Broken(), "2026-01-06", raise_on_error=False))
    next_day = checks(land(instance, lake, Org(), "2026-01-07", raise_on_error=False))[QUARANTINE]
    repaired = checks(land(instance, lake, Repaired(), "2026-01-08"))[QUARANTINE]

    assert broken[QUARANTINE].blocking
    assert broken[QUARANTINE].severity == next_day.severity == dg.AssetCheckSeverity.ERROR
    assert "In partition 2026-01-06 they are 3 of 3" in broken[QUARANTINE].description
    assert not broken[DRIFT].passed
    assert "changed the type of has_opted_out_of_email" in broken[DRIFT].description
    # The records of that day have come, repaired; what waits of them is history.
    assert (repaired.passed, repaired.severity) == (False, dg.AssetCheckSeverity.WARN)


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
