"""Dagster's instance for one state folder: where it keeps its records, and the runs that died."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import dagster as dg
import psutil
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from gtm_assets.settings import Settings

CODE_LOCATION = "gtm_assets"
MODULE = "gtm_assets.definitions"
PROCESS_TAG = "gtm/process"

_CONFIG = """\
# Written by gtm at each start: changes made here are lost.
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
run_monitoring:
  enabled: true
run_retries:
  enabled: true
  max_retries: 0
event_log_storage:
  module: gtm_assets.event_log
  class: KeptOpenEventLogStorage
  config:
    base_dir: {storage}
"""


def prepare_home(settings: Settings) -> None:
    """Make the state folder and point Dagster and dbt to it, in this process and in those it starts."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    config = settings.dagster_home / "dagster.yaml"
    wanted = _CONFIG.format(storage=json.dumps(str(settings.dagster_home / "history" / "runs")))
    if not config.exists() or config.read_text() != wanted:
        config.write_text(wanted)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ["GTM_HOME"] = str(settings.home)
    os.environ["DO_NOT_TRACK"] = "1"


def process_tag(process: psutil.Process | None = None) -> str:
    """This process, so that others can tell whether it still lives: host, id and time of start."""
    process = process or psutil.Process()
    return f"{socket.gethostname()}/{process.pid}/{process.create_time():.0f}"


def is_alive(tag: str) -> bool:
    """Whether the process of a tag still runs. One of another host is taken to."""
    host, pid, started = tag.split("/")
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.0f}" == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the runs whose process is gone, and free what they held. Returns their ids."""
    unfinished = [
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    ]
    ended = []
    for run in instance.get_runs(RunsFilter(statuses=unfinished)):
        if PROCESS_TAG in run.tags and not is_alive(run.tags[PROCESS_TAG]):
            instance.report_run_failed(run, message="The process of this run is gone: it was killed.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def job_origin(job_name: str, project_dir: Path) -> RemoteJobOrigin:
    """Where the UI finds a job, so that runs started by ``gtm`` are linked to their code like any other."""
    target = LoadableTargetOrigin(module_name=MODULE, working_directory=str(project_dir))
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=CODE_LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job_name)
