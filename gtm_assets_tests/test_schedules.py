"""When the schedules fire and for which partition, across the changes of the clocks."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from gtm_assets.automation.jobs import Jobs
from gtm_assets.automation.schedules import all_schedules, of_external_tables
from gtm_assets.automation.sensors import all_sensors
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.definitions import definitions
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import TIMEZONE, Calendar
from gtm_assets.settings import load_settings
from gtm_assets.sources.salesforce.catalog import OBJECTS

OPEN = {"GTM_START_DATE": "2026-01-01", "GTM_END_DATE": "open"}
CALENDAR = Calendar(date(2026, 1, 1), None)
JOBS = Jobs.of(OBJECTS)
EXTRACTIONS, WEEKLY = "extract_daily", "full_extraction_weekly"


@pytest.fixture(scope="module")
def schedules(tmp_path_factory) -> dict[str, dg.ScheduleDefinition]:
    """The schedules of an open calendar, by name."""
    found = definitions(load_settings(OPEN | {"GTM_HOME": str(tmp_path_factory.mktemp("home"))}))
    repository = found.get_repository_def()
    return {name: repository.get_schedule_def(name) for name in (EXTRACTIONS, WEEKLY)}


def ticks(schedule: dg.ScheduleDefinition, first: date, last: date) -> list[datetime]:
    """The instants of the ticks from one local midnight to another, as Dagster's scheduler takes them."""
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=ZoneInfo(TIMEZONE)) for d in (first, last))
    found = schedule_execution_time_iterator(
        begin.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    return list(takewhile(lambda tick: tick.timestamp() < end.timestamp(), found))


def request(schedule: dg.ScheduleDefinition, tick: datetime) -> dg.RunRequest:
    return schedule(dg.build_schedule_context(scheduled_execution_time=tick))


@pytest.mark.parametrize(
    ("first", "hours"),
    [(date(2026, 3, 6), {"2026-03-07": 23}), (date(2026, 10, 30), {"2026-10-31": 25}), (date(2026, 6, 1), {})],
    ids=["to summer time", "to winter time", "a week in summer"],
)
def test_each_local_day_is_extracted_once_at_2149_for_the_partition_that_ends_then(schedules, first, hours):
    last = first + timedelta(days=7)

    found = ticks(schedules[EXTRACTIONS], first, last)

    local = [tick.astimezone(ZoneInfo(TIMEZONE)) for tick in found]
    assert [(t.date(), t.hour, t.minute) for t in local] == [(first + timedelta(days=i), 21, 49) for i in range(7)]
    for tick in found:
        run = request(schedules[EXTRACTIONS], tick)
        window = CALENDAR.window(run.partition_key)
        assert window.end == tick.astimezone(UTC)
        assert (window.end - window.start) == timedelta(hours=hours.get(run.partition_key, 24))
        assert run.tags["dagster/max_retries"] == "2"


def test_the_days_between_two_ticks_are_the_windows(schedules):
    found = ticks(schedules[EXTRACTIONS], date(2026, 3, 7), date(2026, 3, 11))

    assert [later - earlier for earlier, later in pairwise(t.astimezone(UTC) for t in found)] == [
        timedelta(hours=23),
        timedelta(hours=24),
        timedelta(hours=24),
    ]


def test_each_sunday_everything_is_extracted_and_rebuilt_after_the_daily_run(schedules):
    (tick,) = ticks(schedules[WEEKLY], date(2026, 3, 2), date(2026, 3, 9))

    run = schedules[WEEKLY](dg.build_schedule_context(scheduled_execution_time=tick))

    assert tick.astimezone(ZoneInfo(TIMEZONE)).replace(tzinfo=None) == datetime(2026, 3, 8, 22, 30)
    assert run.partition_key == "2026-03-07"
    assert run.run_config["ops"]["salesforce__task"] == {"config": {"full": True}}
    assert run.run_config["ops"]["build_models"] == {"config": {"full_refresh": True}}
    assert run.run_config["ops"]["pipedrive__activity"] == {"config": {"full": True}}
    assert len(run.run_config["ops"]) == 25 + 6 + 1


def test_no_weekly_run_before_a_partition_is_over(schedules):
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC))

    assert schedules[WEEKLY](context).skip_message == "No partition is over yet."


@pytest.mark.parametrize(("engine", "count"), [("duckdb", 0), ("spark", 1)])
def test_snapshots_expire_each_night_where_the_engine_keeps_some(tmp_path, engine, count):
    settings = load_settings({"GTM_HOME": str(tmp_path), "GTM_ENGINE": engine})

    found = [part for part in all_schedules(settings, JOBS) if part.job_name == "expire"]

    assert [(part.name, part.cron_schedule) for part in found] == [("expire_daily", "30 3 * * *")] * count


@pytest.mark.parametrize(
    ("served", "external", "found"),
    [
        ("", "", []),
        ("postgresql://loader@db/sales", "", [("watch_hourly", "20 * * * *", "RUNNING")]),
        ("postgresql://loader@db/sales", "external.duckdb", [("watch_hourly", "20 * * * *", "STOPPED")]),
    ],
)
def test_a_server_that_people_share_is_watched_each_hour(tmp_path, served, external, found):
    given = {"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": external} if external else {}
    settings = load_settings({"GTM_HOME": str(tmp_path), "GTM_SERVE_URL": served, **given})

    parts = of_external_tables(settings, JOBS, lands=False) if external else all_schedules(settings, JOBS)

    watching = [part for part in parts if part.job_name == "watch"]
    assert [(part.name, part.cron_schedule, part.default_status.value) for part in watching] == found


@pytest.mark.parametrize(("end", "status"), [("", "RUNNING"), ("open", "RUNNING"), ("2026-09-30", "STOPPED")])
def test_automation_is_on_by_itself_only_on_an_open_calendar_of_the_synthetic_org(tmp_path, end, status):
    settings = load_settings({"GTM_HOME": str(tmp_path), "GTM_END_DATE": end})

    parts = [
        *all_schedules(settings, JOBS),
        *all_sensors(settings, CALENDAR, Lake(tmp_path), CheckRegistry.of([]), OBJECTS, JOBS),
    ]

    assert {part.name: part.default_status.value for part in parts} == {
        EXTRACTIONS: status,
        "measure_daily": status,
        "compact_monthly": status,
        WEEKLY: status,
        "transform_when_landed": status,
        "catch_up": status,
    }
