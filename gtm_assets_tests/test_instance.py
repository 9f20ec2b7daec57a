"""Dagster's instance for a state folder: its records, and the runs that died."""

import signal
import subprocess
import sys

import dagster as dg
import psutil
import pytest
import sqlalchemy
from dagster import DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._core.storage.event_log import SqliteEventLogStorage

from gtm_assets.runtime.dagster_internals import AssetCheckExecutionsTable, InstanceRef
from gtm_assets.runtime.event_log import KEPT_SHARDS, KeptOpenEventLogStorage
from gtm_assets.runtime.instance import (
    FULL_EXTRACTION_SCHEDULE,
    PROCESS_TAG,
    ServerError,
    become_server,
    end_dead_runs,
    is_alive,
    job_origin,
    keep_renamed_schedules,
    prepare_home,
    process_tag,
    ui_address,
)
from gtm_assets.settings import PROJECT_DIR, load_settings
from gtm_assets_tests.browser import free_port


@pytest.fixture
def instance(tmp_path, monkeypatch):
    for name in ("DAGSTER_HOME", "GTM_HOME", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "to be set by prepare_home")
    prepare_home(load_settings({"GTM_HOME": str(tmp_path)}))
    with dg.DagsterInstance.get() as instance:
        yield instance


def test_what_is_typed_in_the_top_folder_works_on_the_state_folder(instance, tmp_path, monkeypatch):
    """`dagster dev` makes its instance so where DAGSTER_HOME is not set."""
    monkeypatch.delenv("DAGSTER_HOME")
    (tmp_path / "of_dagster").mkdir()

    with dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(str(tmp_path / "of_dagster"), config_dir=str(PROJECT_DIR))
    ) as typed:
        result = dg.materialize([something], instance=typed)

    kept = ("local_artifact_storage_data", "event_storage_data", "run_storage_data", "schedule_storage_data")
    for name in (*kept, "compute_logs_data", "settings"):
        assert getattr(typed.get_ref(), name) == getattr(instance.get_ref(), name), name
    assert not typed.telemetry_enabled
    assert instance.get_run_by_id(result.run_id).is_success
    assert not list((tmp_path / "of_dagster").iterdir())


def test_alerts_link_to_where_the_ui_is_served(tmp_path, monkeypatch):
    for name in ("DAGSTER_HOME", "GTM_HOME", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "to be set by prepare_home")
    settings = load_settings({"GTM_HOME": str(tmp_path)})
    prepare_home(settings)
    assert ui_address(settings) == "http://127.0.0.1:3000"

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    port = free_port()
    become_server(settings, "0.0.0.0", port)
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
        signal.signal(number, handler)

    assert ui_address(settings) == f"http://127.0.0.1:{port}"
    with pytest.raises(ServerError, match="is served already, by process"):
        become_server(settings, "127.0.0.1", port)
    named = load_settings({"GTM_HOME": str(tmp_path), "GTM_UI_URL": "https://dagster.example.com/"})
    assert ui_address(named) == "https://dagster.example.com"


@dg.asset
def something() -> None:
    pass


def test_telemetry_is_off_and_records_stay_in_the_state_folder(instance, tmp_path):
    dg.materialize([something], instance=instance)

    assert not instance.telemetry_enabled
    assert instance.root_directory == str(tmp_path / "dagster")
    assert isinstance(instance.event_log_storage, KeptOpenEventLogStorage)
    assert list((tmp_path / "dagster" / "history" / "runs").glob("*.db"))


def test_what_is_logged_is_read_by_dagsters_own_event_log(instance, tmp_path):
    result = dg.materialize([something], instance=instance)

    own = SqliteEventLogStorage(str(tmp_path / "dagster" / "history" / "runs"))
    kept = [event.dagster_event_type for event in instance.event_log_storage.get_logs_for_run(result.run_id)]

    assert kept and kept == [event.dagster_event_type for event in own.get_logs_for_run(result.run_id)]
    assert own.get_latest_materialization_events([something.key])[something.key] is not None


def test_only_so_many_databases_stay_open_however_many_runs_there_are(instance):
    runs = [dg.materialize([something], instance=instance) for _ in range(KEPT_SHARDS + 4)]

    databases = {
        f.path for f in psutil.Process().open_files() if f.path.endswith(".db") and "history/runs" in f.path
    }
    assert len(databases) <= KEPT_SHARDS + 1
    for run in runs:
        assert instance.event_log_storage.get_logs_for_run(run.run_id)


DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-08")
WEEK = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-07"}


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("holds", asset="daily")],
)
def daily(context):
    for number, key in enumerate(context.partition_keys):
        context.add_asset_metadata({"number": number}, partition_key=key)
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


def log_of(instance: dg.DagsterInstance, run_id: str) -> tuple:
    """What the log and its index hold of a run and of the asset: type, partition and figure of each event."""
    storage = instance.event_log_storage
    told = storage.get_logs_for_run(run_id)
    events = [(e.dagster_event.event_type_value, e.dagster_event.partition) for e in told if e.dagster_event]
    found = storage.fetch_materializations(daily.key, limit=100).records
    figures = sorted((r.partition_key, r.asset_materialization.metadata["number"].value) for r in found)
    newest = instance.get_asset_records([daily.key])[0].asset_entry.last_materialization
    check = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(daily.check_keys))
    with storage.index_connection() as connection:
        columns = ("asset_key", "check_name", "partition", "execution_status")
        planned = connection.execute(sqlalchemy.select(*(AssetCheckExecutionsTable.c[name] for name in columns)))
        plan = sorted(map(tuple, planned), key=str)
    return (
        sorted(events, key=str),
        figures,
        plan,
        newest.dagster_event.partition,
        [record.status for record in check.values()],
    )


def test_events_stored_as_a_batch_are_those_stored_one_by_one(instance, tmp_path, monkeypatch):
    batches = []
    store = KeptOpenEventLogStorage.store_event_batch

    def store_batch(log, events):
        batches.append(len(events))
        store(log, events)

    monkeypatch.setattr(KeptOpenEventLogStorage, "store_event_batch", store_batch)
    in_batches = log_of(instance, dg.materialize([daily], instance=instance, tags=WEEK).run_id)
    assert 7 in batches

    with dg.instance_for_test() as dagsters_own:
        monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
        one_by_one = log_of(dagsters_own, dg.materialize([daily], instance=dagsters_own, tags=WEEK).run_id)

    assert in_batches == one_by_one
    assert len(in_batches[1]) == 7


def test_a_batch_of_events_of_which_one_fails_leaves_nothing_and_then_each_is_stored_alone(instance, monkeypatch):
    store, failed = KeptOpenEventLogStorage._store_asset_event_tags, []

    def fail_once(log, connection, events, event_ids):
        # By then the run's database and the index hold all of the batch.
        (event,) = events
        if event.dagster_event.is_step_materialization and event.dagster_event.partition == "2026-01-05":
            failed.append(event)
            if len(failed) == 1:
                raise OSError("disk I/O error")
        store(log, connection, events, event_ids)

    monkeypatch.setattr(KeptOpenEventLogStorage, "_store_asset_event_tags", fail_once)
    result = dg.materialize([daily], instance=instance, tags=WEEK)

    assert len(failed) == 2
    _, figures, _, newest, *_ = log_of(instance, result.run_id)
    assert figures == [(f"2026-01-0{day}", day - 1) for day in range(1, 8)]
    assert newest == "2026-01-07"


def test_a_run_whose_process_is_gone_is_ended_and_others_are_left(instance):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = process_tag(psutil.Process(child.pid))
    assert is_alive(gone)
    child.kill()
    child.wait()
    job = dg.define_asset_job("job", selection=[something])
    definition = dg.Definitions(assets=[something], jobs=[job]).resolve_job_def("job")
    dead, alive, foreign = (
        instance.create_run_for_job(definition, tags=tags, status=DagsterRunStatus.STARTED)
        for tags in ({PROCESS_TAG: gone}, {PROCESS_TAG: process_tag()}, {})
    )

    assert end_dead_runs(instance) == [dead.run_id]
    assert instance.get_run_by_id(dead.run_id).status == DagsterRunStatus.FAILURE
    for run in (alive, foreign):
        assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.STARTED


def test_a_run_repeated_from_the_ui_is_not_taken_for_the_dead_one_whose_tags_it_inherits(instance):
    gone = process_tag().rsplit("/", 1)[0] + "/1"
    assert not is_alive(gone)
    job = dg.define_asset_job("job", selection=[something])
    definition = dg.Definitions(assets=[something], jobs=[job]).resolve_job_def("job")
    dead = instance.create_run_for_job(definition, tags={PROCESS_TAG: gone}, status=DagsterRunStatus.STARTED)
    repeated = instance.create_run_for_job(
        definition,
        tags={PROCESS_TAG: gone},
        status=DagsterRunStatus.STARTED,
        parent_run_id=dead.run_id,
        root_run_id=dead.run_id,
    )

    assert end_dead_runs(instance) == [dead.run_id]
    assert instance.get_run_by_id(repeated.run_id).status == DagsterRunStatus.STARTED


def test_a_process_id_that_was_given_again_is_not_the_process():
    host, pid, started = process_tag().split("/")

    assert not is_alive(f"{host}/{pid}/{started}1")
    assert is_alive(f"another-host/{pid}/{started}")


def test_a_process_lives_on_when_the_time_of_day_is_set(monkeypatch):
    tag = process_tag()
    at = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: at(process) + 5)

    assert is_alive(tag)


@pytest.mark.parametrize("before", ["off", "on"])
def test_a_renamed_schedule_keeps_whether_it_was_switched_on_and_its_last_tick(before, instance):
    status = InstigatorStatus.RUNNING if before == "on" else InstigatorStatus.STOPPED
    repository = job_origin("extract", PROJECT_DIR).repository_origin
    ticks = ScheduleInstigatorData("30 22 * * 0", start_timestamp=1.0, last_iteration_timestamp=2.0)
    for name in ("full_refresh_weekly", "extract_daily"):
        origin = RemoteInstigatorOrigin(repository, name)
        instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, status, ticks))

    for _ in range(2):
        keep_renamed_schedules(instance)

    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    assert states.keys() == {FULL_EXTRACTION_SCHEDULE, "extract_daily"}
    origin = RemoteInstigatorOrigin(repository, FULL_EXTRACTION_SCHEDULE)
    found = instance.get_instigator_state(origin.get_id(), origin.get_selector().get_id())
    assert (found.status, found.instigator_data) == (status, ticks)


def test_a_schedule_that_has_its_new_name_is_left_as_it_is(instance):
    repository = job_origin("extract", PROJECT_DIR).repository_origin
    for name, status in (("full_refresh_weekly", "RUNNING"), (FULL_EXTRACTION_SCHEDULE, "STOPPED")):
        origin = RemoteInstigatorOrigin(repository, name)
        state = InstigatorState(
            origin, InstigatorType.SCHEDULE, InstigatorStatus(status), ScheduleInstigatorData("30 22 * * 0")
        )
        instance.add_instigator_state(state)

    keep_renamed_schedules(instance)

    (state,) = instance.all_instigator_state()
    assert (state.instigator_name, state.status) == (FULL_EXTRACTION_SCHEDULE, InstigatorStatus.STOPPED)
