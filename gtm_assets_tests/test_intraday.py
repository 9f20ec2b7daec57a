"""Refreshes within the day: when they are due, what a run of them lands, and what it has to wait for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import freeze_time
from dagster._utils.schedules import schedule_execution_time_iterator

from gtm_assets import clock
from gtm_assets.automation import intraday
from gtm_assets.automation.freshness import policies
from gtm_assets.automation.jobs import Jobs
from gtm_assets.checks import service_levels
from gtm_assets.checks.service_levels import _ended_runs, _first_landings, _publications
from gtm_assets.definitions import definitions
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import TIMEZONE, Calendar, end_of, refresh_of
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.runtime.instance import job_origin
from gtm_assets.runtime.runs import INTRADAY_TAG
from gtm_assets.settings import PROJECT_DIR, Settings, load_settings
from gtm_assets.sources.pipedrive.catalog import TABLES as PIPEDRIVE
from gtm_assets.sources.raw_asset import UNTIL_TAG, asset_key
from gtm_assets.sources.salesforce.catalog import OBJECTS

CALENDAR = Calendar(date(2026, 3, 1), None)
OVER, OPEN = "2026-03-03", "2026-03-04"
BEGIN = CALENDAR.window(OPEN).start
TABLES = (OBJECTS[0], OBJECTS[5], PIPEDRIVE[0])
"""Two of Salesforce, and one of Pipedrive."""
SALESFORCE, EXPORT = TABLES[:2], TABLES[2]
SOURCES = ("salesforce", "pipedrive")


def settings_of(home: Path, **given: str) -> Settings:
    return load_settings({"GTM_HOME": str(home), "GTM_START_DATE": "2026-03-01", "GTM_END_DATE": "open"} | given)


@pytest.fixture
def lake(tmp_path) -> Lake:
    """All that is over has landed."""
    lake = Lake(tmp_path / "lake")
    for table in TABLES:
        land(lake, table, OVER)
    return lake


def land(lake: Lake, table, day: str, until: datetime | None = None) -> None:
    window = CALENDAR.window(day, until)
    lake.land(table, window, (), window.end)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """What is over is published."""
    with dg.DagsterInstance.ephemeral() as instance:
        publish(instance, end_of(OVER))
        yield instance


def publish(instance: dg.DagsterInstance, as_of: datetime) -> None:
    metadata = {"as_of": dg.MetadataValue.timestamp(as_of)}
    instance.report_runless_asset_event(dg.AssetMaterialization(PUBLISHED, metadata=metadata))


@pytest.fixture
def ask(tmp_path, lake, instance, monkeypatch):
    """What the schedule answers at a tick; ``asked`` is when, where that is later."""

    def answer(tick: datetime, asked: datetime | None = None, repository=None, **given: str):
        given = {"GTM_REFRESH": "hourly"} | given
        monkeypatch.setattr(clock, "now", lambda: asked or tick)
        return intraday.refresh(instance, repository, settings_of(tmp_path, **given), lake, TABLES, tick)

    return answer


# -- when ------------------------------------------------------------------------------------------------------


def schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    return list(intraday.schedules(settings, Lake(settings.lake_dir), TABLES, Jobs.of(OBJECTS)))


@pytest.mark.parametrize(
    ("given", "cron"),
    [
        ({}, None),
        ({"GTM_REFRESH": "daily", "GTM_SALESFORCE_REFRESH": "15m"}, None),
        ({"GTM_SALESFORCE_REFRESH": "hourly"}, "49 * * * *"),
        ({"GTM_REFRESH": "30m"}, "19,49 * * * *"),
        ({"GTM_SALESFORCE_REFRESH": "hourly", "GTM_PIPEDRIVE_REFRESH": "15m"}, "4,19,34,49 * * * *"),
        ({"GTM_REFRESH": "hourly", "GTM_PIPEDRIVE_REFRESH": "15m"}, "49 * * * *"),
    ],
    ids=str,
)
def test_the_schedule_is_there_where_a_source_is_refreshed_within_the_day_and_ticks_at_the_shortest(
    tmp_path, given, cron
):
    assert [schedule.cron_schedule for schedule in schedules(settings_of(tmp_path, **given))] == [cron][
        : bool(cron)
    ]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, "RUNNING"),
        ({"GTM_END_DATE": "2026-09-30"}, "STOPPED"),
        (
            {
                "GTM_SALESFORCE_SOURCE": "live",
                "GTM_SALESFORCE_INSTANCE_URL": "http://127.0.0.1:1",
                "GTM_SALESFORCE_CLIENT_ID": "id",
                "GTM_SALESFORCE_CLIENT_SECRET": "secret",
            },
            "STOPPED",
        ),
    ],
    ids=["synthetic", "closed", "live"],
)
def test_it_is_on_by_itself_where_the_daily_ones_are(tmp_path, given, status):
    (schedule,) = schedules(settings_of(tmp_path, GTM_REFRESH="hourly", **given))

    assert schedule.default_status.value == status


@pytest.mark.parametrize(("minutes", "count"), [(60, 1), (30, 2), (15, 4)])
@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-07", 23), ("2026-03-10", 24), ("2026-10-31", 25)], ids=["spring", "", "autumn"]
)
def test_its_ticks_are_whole_intervals_of_a_partition_and_the_last_is_the_partitions_end(
    minutes, count, day, hours
):
    window = Calendar(date(2026, 1, 1), None).window(day)

    found = schedule_execution_time_iterator(window.start.timestamp() + 1, intraday.cron(minutes), TIMEZONE)
    ticks = [tick.astimezone(UTC) for tick in takewhile(lambda t: t <= window.end, found)]

    assert len(ticks) == hours * count
    assert ticks[0] == window.start + timedelta(minutes=minutes) and ticks[-1] == window.end
    for tick in ticks:
        assert refresh_of(tick, minutes) == tick
        assert refresh_of(tick + timedelta(minutes=minutes, seconds=-1), minutes) == tick


# -- what ------------------------------------------------------------------------------------------------------


def test_a_tick_asks_for_the_open_partition_of_all_tables_up_to_its_minute(ask):
    tick = BEGIN + timedelta(hours=14)
    run = ask(tick, asked=tick + timedelta(seconds=40))

    assert (run.partition_key, run.asset_selection) == (OPEN, None)
    assert run.tags == {UNTIL_TAG: tick.isoformat(), INTRADAY_TAG: tick.isoformat()}
    assert run.run_key == "2026-03-05T19:49Z" != ask(tick + timedelta(hours=1)).run_key


def test_no_minute_is_landed_twice(ask, lake):
    tick = BEGIN + timedelta(hours=14)
    for table in TABLES:
        land(lake, table, OPEN, tick)

    assert ask(tick).skip_message == "Nothing is due: all has landed that was to by 19:49 UTC."
    assert ask(tick + timedelta(hours=1)).partition_key == OPEN


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    """Salesforce is refreshed within the day, Pipedrive daily."""
    return settings_of(tmp_path_factory.mktemp("home"), GTM_SALESFORCE_REFRESH="hourly")


@pytest.fixture(scope="module")
def repository(settings) -> dg.RepositoryDefinition:
    return definitions(settings).get_repository_def()


def test_sources_that_are_refreshed_daily_are_left_out_with_their_checks(settings, repository, monkeypatch):
    """The schedule as the daemon evaluates it."""
    for table in (*OBJECTS, *PIPEDRIVE):
        land(Lake(settings.lake_dir), table, OVER)
    tick = BEGIN + timedelta(hours=14)
    monkeypatch.setattr(clock, "now", lambda: tick)
    with dg.instance_for_test() as instance:
        publish(instance, end_of(OVER))
        local = tick.astimezone(ZoneInfo(TIMEZONE))
        given = {"scheduled_execution_time": local, "repository_def": repository}
        # Left open, its instance would stay the current one.
        with dg.build_schedule_context(instance, **given) as context:
            run = repository.get_schedule_def(intraday.SCHEDULE)(context)

    assert (run.partition_key, run.tags[UNTIL_TAG]) == (OPEN, tick.isoformat())
    landed = {key for key in run.asset_selection if key.path[0] in SOURCES}
    assert landed == {asset_key(table) for table in OBJECTS}
    assert PUBLISHED in run.asset_selection
    job = repository.get_job("refresh")
    left_out = set(job.asset_layer.asset_graph.asset_check_keys) - set(run.asset_check_keys)
    assert {check.asset_key.path[0] for check in left_out} == {"pipedrive"}
    # Dagster takes it, and adds no check, such as those of freshness.
    made = job.get_subset(
        asset_selection=frozenset(run.asset_selection), asset_check_selection=frozenset(run.asset_check_keys)
    ).asset_layer
    assert made.executable_asset_keys == set(run.asset_selection)
    assert made.asset_graph.asset_check_keys == set(run.asset_check_keys)


def test_of_two_intervals_each_tick_takes_what_is_due_and_what_the_last_one_missed(ask, lake, repository):
    both = {"GTM_REFRESH": "", "GTM_SALESFORCE_REFRESH": "hourly", "GTM_PIPEDRIVE_REFRESH": "15m"}
    hour = BEGIN + timedelta(hours=14)

    def due(tick: datetime) -> set[str]:
        run = ask(tick, repository=repository, **both)
        return {"all"} if run.asset_selection is None else {k.path[0] for k in run.asset_selection} & set(SOURCES)

    assert due(hour) == {"all"}
    for table in SALESFORCE:
        land(lake, table, OPEN, hour)
    assert due(hour + timedelta(minutes=15)) == {"pipedrive"}
    assert due(hour + timedelta(minutes=60)) == {"all"}
    # At 60 nothing ran, and the machine slept.
    assert due(hour + timedelta(minutes=75)) == {"all"}


def test_files_are_landed_where_they_are_new(ask, lake, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    file = folder / EXPORT.api_name
    given = {"GTM_PIPEDRIVE_DIR": str(folder), "GTM_REFRESH": "", "GTM_PIPEDRIVE_REFRESH": "15m"}
    settings, tick = settings_of(tmp_path, **given), BEGIN + timedelta(hours=14)

    file.write_text("id\n1\n")
    assert intraday.due(settings, lake, TABLES, OPEN, tick) == [EXPORT]
    (lake.table_dir(EXPORT) / ".extracted").write_text(f"{file.stat().st_mtime_ns} {file.stat().st_size}")
    assert ask(tick, **given).skip_message.startswith("Nothing is due")
    file.write_text("id\n1\n2\n")
    assert intraday.due(settings, lake, TABLES, OPEN, tick) == [EXPORT]
    # A folder that is being filled is told by the partition's own run, which needs all of its files.
    file.unlink()
    assert ask(tick, **given).skip_message.startswith("Nothing is due")


# -- what it waits for -----------------------------------------------------------------------------------------


def test_the_partitions_own_run_comes_first(ask, lake, instance):
    end, hour = end_of(OPEN), timedelta(hours=1)

    assert ask(end).skip_message == f"Partition {OPEN} ends at this minute: its own run is due."
    assert ask(end + hour).skip_message == (
        f"Partition {OPEN} comes first: 3 of 3 tables lack it: {', '.join(table.name for table in TABLES)}."
    )
    for table in SALESFORCE:
        land(lake, table, OPEN)
    # Landed early is not landed.
    land(lake, EXPORT, OPEN, end - hour)
    assert ask(end + hour).skip_message == f"Partition {OPEN} comes first: 1 of 3 tables lack it: {EXPORT.name}."
    land(lake, EXPORT, OPEN)
    # What was refreshed an hour before the end does not count either.
    publish(instance, end - hour)
    assert ask(end + hour).skip_message == (
        f"Partition {OPEN} comes first, which has landed and is not published. To publish it: gtm run"
    )
    publish(instance, end)
    assert ask(end + hour).partition_key == "2026-03-05"


def test_before_a_partition_is_over_on_a_calendar_that_has_ended_and_long_after_there_is_none(ask):
    assert ask(CALENDAR.window("2026-03-01").end - timedelta(hours=1)).skip_message == "No partition is over yet."
    ended = ask(end_of(OVER) + timedelta(hours=5), GTM_END_DATE=OVER)
    assert ended.skip_message == "No partition is open."
    tick = end_of(OPEN) - timedelta(hours=1)
    assert ask(tick, asked=end_of(OPEN) + timedelta(minutes=5)).skip_message == "No partition is open."


def test_it_waits_for_a_run_that_lands_and_for_no_other(ask, instance):
    tick = BEGIN + timedelta(hours=14)
    jobs = _jobs()
    builds = begin(instance, jobs, "transform")
    assert ask(tick).partition_key == OPEN

    lands = begin(instance, jobs, "extract")
    assert ask(tick).skip_message == f"Runs that land are under way: {lands[:8]}."
    instance.report_run_failed(instance.get_run_by_id(lands))
    waits = begin(instance, jobs, "refresh", DagsterRunStatus.QUEUED)
    assert ask(tick).skip_message == f"Runs that land are under way: {waits[:8]}."
    assert builds != waits


def _jobs() -> dg.Definitions:
    @dg.op
    def nothing() -> None: ...

    def job(name: str) -> dg.JobDefinition:
        return dg.GraphDefinition(name=name, node_defs=[nothing]).to_job()

    return dg.Definitions(jobs=[job(name) for name in ("extract", "refresh", "transform")])


def begin(instance, jobs: dg.Definitions, name: str, status=DagsterRunStatus.STARTED, **tags: str) -> str:
    return instance.create_run_for_job(
        jobs.resolve_job_def(name), status=status, tags=tags, remote_job_origin=job_origin(name, PROJECT_DIR)
    ).run_id


# -- what is promised ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "minutes"),
    [
        ({}, {}),
        ({"GTM_REFRESH": "15m"}, {"salesforce": 15, "pipedrive": 15, "built": 15}),
        ({"GTM_SALESFORCE_REFRESH": "hourly"}, {"salesforce": 60, "built": 60}),
        ({"GTM_REFRESH": "30m", "GTM_PIPEDRIVE_DIR": "/nowhere"}, {"salesforce": 30, "built": 30}),
        ({"GTM_PIPEDRIVE_REFRESH": "15m", "GTM_PIPEDRIVE_DIR": "/nowhere"}, {}),
    ],
    ids=str,
)
def test_freshness_policies_follow_the_setting_and_files_have_none_within_the_day(tmp_path, given, minutes):
    found = policies(settings_of(tmp_path, **given))

    assert found.keys() == {"salesforce", "pipedrive", "core", "mart", "published"}
    for name, policy in found.items():
        what = name if name in SOURCES else "built"
        missed, late = (timedelta(minutes=n) for n in ((60, 30) if name in SOURCES else (90, 75)))
        if what in minutes:
            interval = timedelta(minutes=minutes[what])
            assert policy == dg.FreshnessPolicy.time_window(interval + missed, interval + late)
        else:
            cron = "49 22 * * *" if name in SOURCES else "19 23 * * *"
            assert policy == dg.FreshnessPolicy.cron(cron, missed, TIMEZONE)


def test_policies_reach_the_assets(repository):
    graph = repository.asset_graph
    found = {table: graph.get(asset_key(table)).freshness_policy for table in (OBJECTS[0], PIPEDRIVE[0])}

    assert isinstance(found[OBJECTS[0]], type(dg.FreshnessPolicy.time_window(timedelta(hours=1))))
    assert found[PIPEDRIVE[0]].deadline_cron == "49 22 * * *"
    assert graph.get(PUBLISHED).freshness_policy.fail_window.to_timedelta() == timedelta(minutes=150)


def test_a_refresh_is_no_transformation_of_a_day_and_no_landing_of_it(instance):
    key, ends, jobs = asset_key(SALESFORCE[0]), {OPEN: end_of(OPEN)}, _jobs()
    for tags, fails in (({INTRADAY_TAG: "2026-03-05T19:49Z"}, True), ({}, False)):
        run = instance.get_run_by_id(begin(instance, jobs, "refresh", **tags))
        if fails:
            instance.report_run_failed(run)
        else:
            instance.report_run_canceled(run)
    assert _ended_runs(instance, ["refresh"], datetime.now(UTC)) == []
    instance.report_run_failed(instance.get_run_by_id(begin(instance, jobs, "refresh")))
    assert _ended_runs(instance, ["refresh"], datetime.now(UTC)) == [DagsterRunStatus.FAILURE]

    # A refresh that began before the end and lands a table after it has not landed the day.
    for minutes, until in ((2, end_of(OPEN) - timedelta(minutes=15)), (5, end_of(OPEN))):
        with freeze_time(end_of(OPEN) + timedelta(minutes=minutes)):
            metadata = {"read_until": dg.MetadataValue.timestamp(until)}
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=OPEN, metadata=metadata))
    assert _first_landings(instance, key, ends) == {OPEN: end_of(OPEN) + timedelta(minutes=5)}


def test_all_publications_of_a_month_are_read_however_many_there_are(instance, monkeypatch):
    monkeypatch.setattr(service_levels, "PAGE", 2)
    ticks = [BEGIN + timedelta(hours=n) for n in range(1, 6)]
    for tick in ticks:
        with freeze_time(tick):
            publish(instance, tick)

    found = _publications(instance, PUBLISHED, ticks[-1])

    assert sorted(as_of for _, as_of in found if as_of > BEGIN) == ticks
