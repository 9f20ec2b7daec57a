"""A raw asset: lands its partitions, says what it did, and lets what fits pass where some records don't."""

import sqlite3
from datetime import UTC, date, datetime, timedelta
from unittest import mock

import dagster as dg
import polars as pl
import pytest
import requests

from gtm_assets.checks.raw import DRIFT, QUARANTINE, VALUES, VANISHED, VOLUME, Limits, still_there
from gtm_assets.errors import BudgetReached, CredentialsRefused, NotReadable, SourceUnavailable
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, Window
from gtm_assets.runtime.retries import may_pass, retried
from gtm_assets.sources.raw_asset import READABLE_CHECK, Rules, asset_key
from gtm_assets.sources.salesforce.assets import raw_asset
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

    def described(self, table) -> None:
        """Its fields are those that its records have."""


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


def land(
    instance,
    lake: Lake,
    org: Org,
    first: str,
    last: str | None = None,
    full: bool = False,
    raise_on_error: bool = True,
) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    return dg.materialize(
        [raw_asset(CONTACT, READ, Rules(CALENDAR, LIMITS, retry_seconds=0))],
        instance=instance,
        resources={"org": org, "lake": lake},
        partition_key=None if last else first,
        tags=tags if last else None,
        run_config={"ops": {"salesforce__contact": {"config": {"full": full}}}},
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


def test_the_last_partition_of_a_run_lists_the_columns_for_those_before_it(instance, lake):
    result = land(instance, lake, Org(without="shoe_size_c"), "2026-01-05", "2026-01-07")

    listed = {
        event.partition: "dagster/column_schema" in event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert listed == {"2026-01-05": False, "2026-01-06": False, "2026-01-07": True}


def test_what_had_landed_when_a_later_day_failed_is_told_to_dagster(instance, lake):
    """No run will land it again: without an event the day would count as missed for ever."""

    class Exhausted(Org):
        def changes(self, table, window: Window):
            if window.key == "2026-01-07":
                raise BudgetReached("no requests are left")
            yield from super().changes(table, window)

    failed = land(instance, lake, Exhausted(), "2026-01-05", "2026-01-08", raise_on_error=False)

    assert not failed.success
    assert lake.partitions(CONTACT) == ["2026-01-05", "2026-01-06"]
    assert instance.get_materialized_partitions(asset_key(CONTACT)) == {"2026-01-05", "2026-01-06"}
    newest = instance.get_latest_materialization_event(asset_key(CONTACT)).asset_materialization
    assert newest.metadata["dagster/partition_row_count"].value == 3


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
    assert set(found) == {QUARANTINE, DRIFT, VOLUME, VALUES, READABLE_CHECK, VANISHED}
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


class Breaking(Org):
    """Fails in mid-page on the days in `errors`, with each of their errors in turn."""

    def __init__(self, **errors: list[Exception]) -> None:
        super().__init__()
        self.errors = {key.removeprefix("d").replace("_", "-"): list(found) for key, found in errors.items()}

    def changes(self, table, window):
        yield from super().changes(table, window)
        if self.errors.get(window.key):
            raise self.errors[window.key].pop(0)


@pytest.mark.parametrize(
    "error", [CredentialsRefused("the password is wrong"), KeyError("a field"), OSError(28, "no")]
)
def test_what_will_not_pass_fails_at_once_and_keeps_the_days_before(instance, lake, error):
    org = Breaking(d2026_01_06=[error])

    result = land(instance, lake, org, "2026-01-05", "2026-01-06", raise_on_error=False)

    assert not result.success
    assert org.asked == ["2026-01-05", "2026-01-06"]
    assert lake.partitions(CONTACT) == ["2026-01-05"]
    assert [path.name for path in lake.partition_dir(CONTACT, "2026-01-06").iterdir()] == []


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("the source hung up"),
        TimeoutError("no answer"),
        requests.ConnectionError("no route"),
        requests.HTTPError(response=mock.Mock(status_code=503)),
        requests.HTTPError(response=mock.Mock(status_code=429)),
        SourceUnavailable("in maintenance"),
        sqlite3.OperationalError("database is locked"),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again_and_lands(instance, lake, error):
    org = Breaking(d2026_01_06=[error, error])

    result = land(instance, lake, org, "2026-01-05", "2026-01-06")

    assert result.success
    assert org.asked == ["2026-01-05", "2026-01-06"] * 3
    assert lake.read(CONTACT).select(pl.len()).collect().item() == 6


def test_a_third_failure_is_the_last(instance, lake):
    org = Breaking(d2026_01_05=[ConnectionError("the source hung up")] * 4)

    result = land(instance, lake, org, "2026-01-05", raise_on_error=False)

    assert not result.success
    assert org.asked == ["2026-01-05"] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_answer_that_says_no_will_not_pass(status):
    assert not may_pass(requests.HTTPError(response=mock.Mock(status_code=status)))


def test_each_wait_is_four_times_the_one_before():
    waits = []
    for number in range(3):
        context = mock.Mock(retry_number=number)
        with pytest.raises(dg.RetryRequested) as requested, retried(context, 15):
            raise ConnectionError
        assert requested.value.max_retries == 2
        waits.append(requested.value.seconds_to_wait)
    assert waits == [15, 60, 240]


# -- a table that can't be read --------------------------------------------------------------------------------


class Closed(Org):
    """Nobody lets us read, until `open`."""

    open = False

    def changes(self, table, window):
        if not self.open:
            self.asked.append(window.key)
            raise NotReadable(table, "no permission on Contact")
        yield from super().changes(table, window)


def test_a_table_that_cannot_be_read_lands_empty_is_told_and_is_owed(instance, lake):
    org = Closed()

    result = land(instance, lake, org, "2026-01-05", "2026-01-07")

    check = checks(result)[READABLE_CHECK]
    assert result.success
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.ERROR, False)
    assert check.metadata["reason"].value == "no permission on Contact"
    # It never had a record: an organisation may lack it.
    assert checks(result)[VANISHED].passed
    assert "the right to read Contact and its fields" in check.description
    partitions = lake.partitions(CONTACT)
    assert partitions == lake.unreadable_partitions(CONTACT) == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert lake.read(CONTACT).select(pl.len()).collect().item() == 0
    assert org.asked == ["2026-01-05"]


def test_once_it_can_be_read_what_was_owed_lands_and_is_settled(instance, lake):
    org = Closed()
    land(instance, lake, org, "2026-01-05", "2026-01-06")
    org.open = True

    result = land(instance, lake, org, "2026-01-05")

    assert checks(result)[READABLE_CHECK].passed
    assert lake.unreadable_partitions(CONTACT) == ["2026-01-06"]
    assert lake.read(CONTACT).select(pl.len()).collect().item() == 3


def test_what_had_landed_before_it_was_closed_stays(instance, lake):
    land(instance, lake, Org(), "2026-01-05")

    land(instance, lake, Closed(), "2026-01-05", raise_on_error=False)

    assert lake.read(CONTACT).select(pl.len()).collect().item() == 3
    assert lake.unreadable_partitions(CONTACT) == ["2026-01-05"]


def test_a_table_that_had_records_and_can_not_be_read_blocks_until_its_owner_forgets_it_or_it_is_back(
    instance, lake
):
    org = Closed()
    org.open = True
    land(instance, lake, org, "2026-01-05")
    org.open = False

    result = land(instance, lake, org, "2026-01-06", raise_on_error=False)

    check = checks(result)[VANISHED]
    assert not result.success
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert (
        "salesforce.contact had 3 records and can't be read any more: no permission on Contact"
        in check.description
    )
    assert "give the platform's user Contact back, then run: gtm run" in check.description
    assert "gtm source forget salesforce.contact, then gtm run" in check.description
    # What the lake holds says the same, where the run was killed before its check.
    assert still_there(lake, CONTACT).sentence == check.description

    lake.forget(CONTACT, datetime(2026, 1, 7, tzinfo=UTC))
    forgotten = land(instance, lake, org, "2026-01-07")

    assert checks(forgotten)[VANISHED].passed
    assert (
        "its owner has said so on 2026-01-07 00:00 UTC: its 3 records stay"
        in checks(forgotten)[VANISHED].description
    )
    assert lake.unreadable_partitions(CONTACT) == ["2026-01-06", "2026-01-07"]

    org.open = True
    back = land(instance, lake, org, "2026-01-08")
    assert checks(back)[VANISHED].passed and lake.forgotten(CONTACT) is None
    org.open = False
    assert not land(instance, lake, org, "2026-01-09", raise_on_error=False).success


def test_a_table_whose_records_are_all_deleted_has_nothing_to_lose(instance, lake):
    class Emptied(Org):
        def changes(self, table, window):
            for page in super().changes(table, window):
                yield page.with_columns(pl.lit("true").alias("is_deleted"))

    land(instance, lake, Org(), "2026-01-05")
    land(instance, lake, Emptied(), "2026-01-05")
    lake.land_unreadable(CONTACT, CALENDAR.window("2026-01-06"), "gone", CALENDAR.window("2026-01-06").end)

    assert lake.alive(CONTACT) == 0
    assert still_there(lake, CONTACT).passed


# -- full extractions ------------------------------------------------------------------------------------------


class Whole(Org):
    """Shows two of the three contacts of 5 January, one of them changed by a formula."""

    def snapshot(self, table, window):
        self.asked.append(f"all of {window.key}")
        (page,) = super().changes(table, CALENDAR.window("2026-01-05"))
        yield page.head(2).with_columns(pl.Series("shoe_size_c", ["41", "47"]))


def test_a_full_extraction_takes_all_records_and_finds_what_is_gone(instance, lake):
    org = Whole()
    land(instance, lake, org, "2026-01-05")

    result = land(instance, lake, org, "2026-01-06", full=True)

    (event,) = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert org.asked[1] == "all of 2026-01-06"
    assert (metadata["rows_received"].value, metadata["dagster/partition_row_count"].value) == (2, 2)
    assert metadata["hard_deleted"].value == 1
    gone = lake.read(CONTACT).filter(pl.col("is_deleted")).collect()
    assert gone["id"].to_list() == ["0032026-01-052"]


def test_a_full_extraction_of_a_closed_table_deletes_nothing(instance, lake):
    class ClosedWhole(Org):
        def snapshot(self, table, window):
            raise NotReadable(table, "no permission")
            yield

    land(instance, lake, Org(), "2026-01-05")

    result = land(instance, lake, ClosedWhole(), "2026-01-06", full=True, raise_on_error=False)

    assert not checks(result)[READABLE_CHECK].passed
    assert lake.read(CONTACT).filter(pl.col("is_deleted")).collect().is_empty()
