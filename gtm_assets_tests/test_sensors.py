"""The sensors: what they ask for, what they wait for, and that a dead source isn't hammered."""

import json
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.test_utils import freeze_time
from dagster._utils.error import SerializableErrorInfo

from gtm_assets import clock
from gtm_assets.automation.jobs import Jobs
from gtm_assets.automation.sensors import all_sensors, missed, transformation
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.dbt.project import TransformError
from gtm_assets.dbt.warehouse import WarehouseBusy
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.publishing.publish import BATCHES, batches_digest
from gtm_assets.runtime.instance import job_origin
from gtm_assets.runtime.runs import range_tags
from gtm_assets.settings import PROJECT_DIR, load_settings
from gtm_assets.sources.raw_asset import asset_key
from gtm_assets.sources.salesforce.catalog import OBJECTS

CALENDAR = Calendar(date(2026, 3, 1), None)
DAY = "2026-03-07"
ENDS = CALENDAR.window(DAY).end
READY = ENDS + timedelta(minutes=10)
CHECK = dg.AssetCheckKey(asset_key(OBJECTS[0]), "contract")
BLOCKING = CheckRegistry((CHECK,), frozenset({CHECK}))
BY_NAME = {table.name: table for table in OBJECTS}


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


def land(lake: Lake, *days: str, without: Collection[str] = ()) -> None:
    """Empty batches: the sensors look at what is there, not at what it holds."""
    for table in OBJECTS:
        for day in days:
            if table.name not in without:
                window = CALENDAR.window(day)
                lake.land(table, window, (), window.end)


def days(first: str, count: int) -> list[str]:
    return [(date.fromisoformat(first) + timedelta(days=i)).isoformat() for i in range(count)]


def begin(instance, job_name: str = "extract", status=DagsterRunStatus.STARTED, tables=None, **tags) -> str:
    """A run under way."""
    run = instance.create_run_for_job(
        _JOBS.resolve_job_def(job_name),
        status=status,
        tags=tags,
        remote_job_origin=job_origin(job_name, PROJECT_DIR),
        asset_selection=None if tables is None else frozenset(asset_key(table) for table in tables),
    )
    return run.run_id


def _stub(table) -> dg.AssetsDefinition:
    @dg.asset(key=asset_key(table), partitions_def=CALENDAR.definition())
    def raw() -> None: ...

    return raw


_JOBS = dg.Definitions(
    assets=[_stub(table) for table in OBJECTS],
    jobs=[dg.define_asset_job(name, selection="*") for name in ("extract", "refresh", "transform")],
)


def report(instance, passed: bool, severity=dg.AssetCheckSeverity.ERROR) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=CHECK.asset_key, check_name=CHECK.name, passed=passed, severity=severity, metadata={}
        )
    )


def transform(instance, lake, now: datetime = READY):
    return transformation(instance, CALENDAR, lake, OBJECTS, BLOCKING, now)


# -- the transformation ----------------------------------------------------------------------------------------


def test_a_day_that_has_landed_is_built_ten_minutes_after_its_end(instance, lake):
    land(lake, DAY)

    early = transform(instance, lake, READY - timedelta(seconds=1))
    request = transform(instance, lake, READY)

    assert early.skip_message == "Partition 2026-03-07 has just ended: its transformation begins at 04:59 UTC."
    assert isinstance(request, dg.RunRequest)
    assert request.run_key.startswith(f"{DAY} ")
    assert request.tags["dagster/max_retries"] == "2"


def test_it_never_builds_half_a_day_and_says_what_it_waits_for(instance, lake):
    land(lake, DAY, without=[table.name for table in OBJECTS[3:10]])

    skipped = transform(instance, lake)

    names = ", ".join(table.name for table in OBJECTS[3:8])
    assert skipped.skip_message == f"Partition {DAY} waits for 7 of 25 tables: {names} and 2 more."
    land(lake, DAY)
    assert isinstance(transform(instance, lake), dg.RunRequest)


def test_the_same_content_is_built_once_and_more_of_it_again(instance, lake):
    land(lake, DAY)
    first = transform(instance, lake)
    same = transform(instance, lake, READY + timedelta(hours=5))

    land(lake, "2026-03-05")
    filled = transform(instance, lake)

    assert first.run_key == same.run_key
    assert filled.run_key != first.run_key


def fail(instance, request: dg.RunRequest, at: datetime, error: type[Exception]) -> str:
    """A run that the sensor asked for fails in its build, as the step raised the error at last."""
    cause = SerializableErrorInfo("in the way\n", [], error.__name__)
    raised = SerializableErrorInfo("Exceeded max_retries\n", [], "RetryRequestedFromPolicy", cause)
    with freeze_time(at):
        run_id = begin(instance, "transform", **request.tags)
        step = dg.DagsterEvent(
            DagsterEventType.STEP_FAILURE.value,
            "transform",
            step_key="build_models",
            event_specific_data=StepFailureData(raised, None),
        )
        instance.report_dagster_event(step, run_id)
        instance.report_run_failed(instance.get_run_by_id(run_id))
    return run_id[:8]


def test_a_build_that_found_the_warehouse_open_elsewhere_is_tried_again_with_growing_pauses(instance, lake):
    land(lake, DAY)
    request = transform(instance, lake)
    pauses = []
    at = READY
    for _ in range(3):
        run_id = fail(instance, request, at, WarehouseBusy)
        waits = transform(instance, lake, at + timedelta(minutes=14))
        assert f"open elsewhere in run {run_id}; the next attempt is at" in waits.skip_message
        later = at
        while not isinstance(again := transform(instance, lake, later), dg.RunRequest):
            later += timedelta(minutes=5)
        assert again.run_key != request.run_key
        pauses.append(later - at)
        at, request = later, again

    assert pauses == [timedelta(minutes=minutes) for minutes in (15, 30, 60)]


def test_a_build_that_failed_for_good_is_not_tried_again_before_something_lands(instance, lake):
    land(lake, DAY)
    run_id = fail(instance, transform(instance, lake), READY, TransformError)

    refused = transform(instance, lake, READY + timedelta(hours=5))
    land(lake, "2026-03-06")

    assert f"Run {run_id} was asked to build what has landed up to {DAY}" in refused.skip_message
    assert isinstance(transform(instance, lake), dg.RunRequest)


def test_what_is_published_is_not_built_again(instance, lake):
    land(lake, DAY)
    digest = batches_digest((batch.table, batch.batch_id) for batch in lake.batches())
    instance.report_runless_asset_event(dg.AssetMaterialization(PUBLISHED, metadata={BATCHES: digest}))

    assert transform(instance, lake).skip_message == f"All that has landed up to {DAY} is published."
    land(lake, "2026-03-06")
    assert isinstance(transform(instance, lake), dg.RunRequest)


@pytest.mark.parametrize("status", [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_it_waits_until_no_extraction_is_under_way(instance, lake, status):
    land(lake, DAY)
    run_id = begin(instance, "extract", status)

    assert transform(instance, lake).skip_message == f"Waits for 1 extractions: {run_id[:8]}."

    instance.report_run_failed(instance.get_run_by_id(run_id))
    assert isinstance(transform(instance, lake), dg.RunRequest)


def test_another_transformation_is_not_waited_for(instance, lake):
    land(lake, DAY)
    begin(instance, "transform")

    assert isinstance(transform(instance, lake), dg.RunRequest)


def test_a_blocking_check_that_failed_holds_it_until_it_passes(instance, lake):
    land(lake, DAY)
    report(instance, passed=False)

    held = transform(instance, lake)
    report(instance, passed=True)

    assert held.skip_message == "1 blocking checks of raw tables failed: salesforce/account contract."
    assert isinstance(transform(instance, lake), dg.RunRequest)


def test_a_warning_holds_nothing(instance, lake):
    land(lake, DAY)
    report(instance, passed=False, severity=dg.AssetCheckSeverity.WARN)

    assert isinstance(transform(instance, lake), dg.RunRequest)


def test_a_table_that_cannot_be_read_holds_nothing(instance, lake):
    land(lake, DAY, without=["task"])
    window = CALENDAR.window(DAY)

    lake.land_unreadable(BY_NAME["task"], window, "no right", window.end)

    assert isinstance(transform(instance, lake), dg.RunRequest)


def test_nothing_is_built_before_a_partition_is_over(instance, lake):
    assert transform(instance, lake, datetime(2026, 3, 1, tzinfo=UTC)).skip_message == "No partition is over yet."


# -- what was missed -------------------------------------------------------------------------------------------


def catch_up(instance, lake, now: datetime, cursor: str | None = None):
    return missed(instance, CALENDAR, lake, OBJECTS, now, cursor)


def asked(result) -> list[tuple[str, str, int]]:
    return [
        (
            r.tags["dagster/asset_partition_range_start"],
            r.tags["dagster/asset_partition_range_end"],
            len(r.asset_selection),
        )
        for r in result.run_requests or []
    ]


def test_days_of_absence_are_landed_with_all_tables_in_runs_of_31(instance, lake):
    land(lake, *days("2026-03-01", 2))
    now = CALENDAR.window("2026-05-10").end + timedelta(hours=2)

    result = catch_up(instance, lake, now)

    assert asked(result) == [
        ("2026-03-03", "2026-04-02", 25),
        ("2026-04-03", "2026-05-03", 25),
        ("2026-05-04", "2026-05-10", 25),
    ]
    assert all(r.tags["dagster/max_retries"] == "2" for r in result.run_requests)


def test_a_day_is_missed_an_hour_after_its_end(instance, lake):
    land(lake, *days("2026-03-01", 6))

    early = catch_up(instance, lake, ENDS + timedelta(minutes=59))
    late = catch_up(instance, lake, ENDS + timedelta(minutes=60))

    assert (asked(early), early.skip_reason.skip_message) == ([], "Nothing was missed.")
    assert asked(late) == [(DAY, DAY, 25)]


def test_only_the_tables_that_lack_it_are_asked_for(instance, lake):
    land(lake, *days("2026-03-01", 7), without=["task", "user"])
    land(lake, *days("2026-03-01", 6))

    (request,) = catch_up(instance, lake, ENDS + timedelta(hours=1)).run_requests

    assert set(request.asset_selection) == {asset_key(BY_NAME["task"]), asset_key(BY_NAME["user"])}


def test_what_a_run_is_about_to_land_is_not_asked_for(instance, lake):
    now = CALENDAR.window("2026-03-10").end + timedelta(hours=1)
    begin(instance, status=DagsterRunStatus.QUEUED, **range_tags(days("2026-03-01", 5)))
    begin(instance, tables=OBJECTS[:20], **{"dagster/partition": "2026-03-06"})

    result = catch_up(instance, lake, now)

    assert sorted(asked(result)) == [("2026-03-06", "2026-03-10", 5), ("2026-03-07", "2026-03-10", 20)]


def test_a_dead_source_is_asked_ever_more_rarely(instance, lake):
    now = CALENDAR.window("2026-03-03").end + timedelta(hours=1)
    cursor = None
    for minutes in (15, 30, 60, 120, 240, 480, 960, 1440, 1440):
        attempt = catch_up(instance, lake, now, cursor)
        assert [start for start, *_ in asked(attempt)] == ["2026-03-01"], minutes
        now += timedelta(minutes=minutes)

        early = catch_up(instance, lake, now - timedelta(minutes=1), attempt.cursor)
        assert asked(early) == [], minutes
        cursor = early.cursor
    assert (
        early.skip_reason.skip_message
        == f"1 extractions are missing; the next attempt is at {now:%Y-%m-%d %H:%M} UTC."
    )


def test_once_it_has_landed_its_attempts_are_forgotten(instance, lake):
    now = CALENDAR.window("2026-03-02").end + timedelta(hours=1)
    first = catch_up(instance, lake, now)
    land(lake, "2026-03-01", "2026-03-02")

    after = catch_up(instance, lake, now + timedelta(minutes=5), first.cursor)

    assert first.cursor != "{}"
    assert after.cursor == "{}"


def test_at_most_four_runs_are_asked_for_at_a_time_the_oldest_first(instance, lake):
    now = CALENDAR.window("2026-12-31").end + timedelta(hours=1)

    first = catch_up(instance, lake, now)
    second = catch_up(instance, lake, now + timedelta(minutes=5), first.cursor)

    assert [start for start, *_ in asked(first)] == ["2026-03-01", "2026-04-01", "2026-05-02", "2026-06-02"]
    assert [start for start, *_ in asked(second)] == ["2026-07-03", "2026-08-03", "2026-09-03", "2026-10-04"]


def test_a_partition_that_could_not_be_read_is_owed_until_it_lands(instance, lake):
    land(lake, *days("2026-03-01", 7), without=["task"])
    task = BY_NAME["task"]
    for day in days("2026-03-01", 7):
        lake.land(task, CALENDAR.window(day), (), CALENDAR.window(day).end)
    window = CALENDAR.window("2026-03-04")
    lake.land_unreadable(task, window, "no right", window.end)

    (request,) = catch_up(instance, lake, ENDS + timedelta(hours=1)).run_requests
    assert request.asset_selection == [asset_key(task)]
    assert request.tags["dagster/asset_partition_range_start"] == "2026-03-04"

    lake.land(task, window, (), window.end)
    assert asked(catch_up(instance, lake, ENDS + timedelta(hours=1))) == []


def test_the_pauses_of_a_table_that_is_kept_from_us_grow_from_one_day_to_the_next(instance, lake):
    land(lake, *days("2026-03-01", 8), without=["task"])
    cursor = None
    for number, day in enumerate(days("2026-03-01", 8), 1):
        window = CALENDAR.window(day)
        lake.land_unreadable(BY_NAME["task"], window, "no right", window.end)
        if day < DAY:
            continue
        result = catch_up(instance, lake, window.end + timedelta(hours=1), cursor)
        cursor = result.cursor

        assert [request.tags["dagster/asset_partition_range_start"] for request in result.run_requests] == [day]
        ((attempts, _),) = json.loads(cursor).values()
        assert attempts == number - 6


# -- as Dagster evaluates them ---------------------------------------------------------------------------------


def test_the_sensors_ask_the_platforms_clock_and_end_dead_runs(instance, lake, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: READY)
    land(lake, *days("2026-03-01", 7))
    dead = begin(instance, **{"gtm/process": "nowhere/1/0"})
    monkeypatch.setattr("gtm_assets.runtime.instance.is_alive", lambda tag: False)
    settings = load_settings({"GTM_HOME": str(lake.root.parent), "GTM_END_DATE": "open"})
    transform_when_landed, catch_up = all_sensors(settings, CALENDAR, lake, BLOCKING, OBJECTS, Jobs.of(OBJECTS))

    with dg.build_sensor_context(instance=instance) as context:
        built = transform_when_landed.evaluate_tick(context)
        caught = catch_up.evaluate_tick(context)

    assert len(built.run_requests) == 1
    assert caught.skip_message == "Nothing was missed."
    assert instance.get_run_by_id(dead).status == DagsterRunStatus.FAILURE
