"""Dagster's instance for a state folder: its records, and the runs that died."""

import subprocess
import sys

import dagster as dg
import psutil
import pytest
from dagster import DagsterRunStatus
from dagster._core.storage.event_log import SqliteEventLogStorage

from gtm_assets.event_log import KEPT_SHARDS, KeptOpenEventLogStorage
from gtm_assets.instance import PROCESS_TAG, end_dead_runs, is_alive, prepare_home, process_tag
from gtm_assets.settings import load_settings


@pytest.fixture
def instance(tmp_path, monkeypatch):
    for name in ("DAGSTER_HOME", "GTM_HOME", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "to be set by prepare_home")
    prepare_home(load_settings({"GTM_HOME": str(tmp_path)}))
    with dg.DagsterInstance.get() as instance:
        yield instance


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

    assert not is_alive(f"{host}/{pid}/{int(started) - 60}")
    assert is_alive(f"another-host/{pid}/{started}")
