"""Dagster's instance for one state folder: where it keeps its records, who serves it, and the runs that died."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import click
import dagster as dg
import psutil
import yaml
from dagster import DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter

from gtm_assets.errors import GtmError
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.dagster_internals import (
    ConfigurableClassData,
    InstanceRef,
    LoadableTargetOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from gtm_assets.settings import PROJECT_DIR, Settings, load_settings

CODE_LOCATION = "gtm_assets"
MODULE = "gtm_assets.definitions"
PROCESS_TAG = "gtm/process"
SERVER_RECORD = "server.process"
"""Beside ``dagster.yaml``: the process that serves the state folder, as a process tag, and the UI's address."""
LOCALHOST, PORT = "127.0.0.1", 3000
"""Where the UI listens unless it is told otherwise."""
FULL_EXTRACTION_SCHEDULE = "full_extraction_weekly"
RENAMED_SCHEDULES = {"full_refresh_weekly": FULL_EXTRACTION_SCHEDULE}
"""Schedules by the name that they had up to release 0.1."""
CLOCK_SET_SECONDS = 60
"""The time of day may be set by this much while a worker begins."""


class ServerError(GtmError):
    """The UI can't be served. The message says what is in its way."""


class StateFolderInstance(dg.DagsterInstance):
    """Dagster's instance when ``dagster dev`` or ``dg dev`` is typed in the top folder: that of the state folder.

    Dagster would keep its records in a temporary folder where DAGSTER_HOME is not set. ``dagster.yaml`` in the top
    folder names this class, and Dagster asks it where the records lie.
    """

    KEPT: ClassVar = {
        "local_artifact_storage": "local_artifact_storage_data",
        "storage": "storage_data",
        "run_storage": "run_storage_data",
        "event_log_storage": "event_storage_data",
        "schedule_storage": "schedule_storage_data",
        "compute_logs": "compute_logs_data",
        "scheduler": "scheduler_data",
        "run_coordinator": "run_coordinator_data",
        "run_launcher": "run_launcher_data",
        "secrets": "secrets_loader_data",
        "defs_state_storage": "defs_state_storage_data",
    }
    """Each key of ``dagster.yaml`` that this class answers for, and the field of ``InstanceRef`` that holds it."""

    @classmethod
    def config_schema(cls) -> dict[str, Any]:
        """There is nothing to configure."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """The storages of the state folder, in place of those in ``base_dir``.

        Raises:
            click.ClickException: the settings are wrong, or another process serves the folder.
        """
        try:
            settings = load_settings()
            prepare_home(settings)
            command = click.get_current_context(silent=True)
            if "DAGSTER_IS_DEV_CLI" in os.environ and command is not None:
                address = command.params.get("host") or LOCALHOST, int(command.params.get("port") or PORT)
                become_server(settings, *address)
        except GtmError as error:
            raise click.ClickException(str(error)) from error
        logging.getLogger("dagster").info(f"All records are kept in {settings.home}, which is GTM_HOME.")
        state = InstanceRef.from_dir(str(settings.dagster_home))
        return {name: getattr(state, field) for name, field in cls.KEPT.items()}


def prepare_home(settings: Settings) -> None:
    """Make the state folder and point Dagster and dbt to it, in this process and in those it starts.

    Raises:
        SettingsError: the settings contradict the calendar that the state folder keeps.
    """
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    Calendar.begin(settings)
    config = settings.dagster_home / "dagster.yaml"
    wanted = _config(settings)
    if not config.exists() or config.read_text() != wanted:
        config.write_text(wanted)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ["GTM_HOME"] = str(settings.home)
    os.environ["DO_NOT_TRACK"] = "1"
    # With it Dagster hands over a run's plan, or a step's partitions, to the event log at once.
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = "1000"


def _config(settings: Settings) -> str:
    """What ``dagster.yaml`` of the top folder says, with an event log that keeps its files open."""
    config = yaml.safe_load((PROJECT_DIR / "dagster.yaml").read_text())
    del config["instance_class"]
    config["event_log_storage"] = {
        "module": "gtm_assets.runtime.event_log",
        "class": "KeptOpenEventLogStorage",
        "config": {"base_dir": str(settings.dagster_home / "history" / "runs")},
    }
    return "# Written by gtm at each start: changes made here are lost.\n" + yaml.safe_dump(
        config, sort_keys=False
    )


def process_tag(process: psutil.Process | None = None) -> str:
    """This process, so that others can tell whether it still lives: host, id and start."""
    process = process or psutil.Process()
    return f"{socket.gethostname()}/{process.pid}/{_start(process)}"


def _start(process: psutil.Process) -> str:
    """When a process began, which tells it from another of the same id. The kernel counts it from the boot.

    The time of day serves only where the kernel does not say it: it may be set while processes run, for example
    after a laptop has slept.
    """
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # proc(5): starttime is the 22nd field, the 20th after the name, which may hold anything.
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot}:{ticks}"
    return f"{process.create_time():.0f}"


def is_alive(tag: str) -> bool:
    """Whether the process of a tag still runs. A process of another host is taken to run."""
    host, pid, started = tag.split("/")
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(pid))
        return _start(process) == started and process.status() != psutil.STATUS_ZOMBIE
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
        if _is_dead(instance, run):
            instance.report_run_failed(run, message="The process of this run is gone: it was killed.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def _is_dead(instance: dg.DagsterInstance, run: DagsterRun) -> bool:
    # A run that is repeated from the UI inherits the tags of the first, and runs in another process.
    if PROCESS_TAG in run.tags and run.parent_run_id is None:
        return not is_alive(run.tags[PROCESS_TAG])
    # The UI or a schedule started it, below the process that serves the state folder.
    server = _server(Path(instance.root_directory))
    if server is None or not _is_of_this_host(server):
        return False
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        worker = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if worker is not None:
            try:
                process = psutil.Process(int(str(worker.value)))
                # A younger process was only given the same id.
                is_younger = process.create_time() > entry.timestamp + CLOCK_SET_SECONDS
                return is_younger or process.status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return True
    return False


def become_server(settings: Settings, host: str, port: int) -> None:
    """Note this process as the one that serves the state folder, after ending what a killed one left behind.

    Raises:
        ServerError: another process serves the folder, or the port is taken.
    """
    server = _server(settings.dagster_home)
    if server is not None and _is_of_this_host(server) and is_alive(server):
        pid = server.split("/")[1]
        raise ServerError(f"{settings.home} is served already, by process {pid}. Stop that one first: kill {pid}")
    _end_orphans(settings.dagster_home)
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise ServerError(
            f"the UI can't listen on {host}:{port}: {error.strerror}. "
            f"Stop what is there, or take another port: gtm dev --port {port + 1}"
        ) from error
    with dg.DagsterInstance.get() as instance:
        end_dead_runs(instance)
        keep_renamed_schedules(instance)
    # Ctrl-C and `kill` end it also where a script started it in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    shown = LOCALHOST if host in ("0.0.0.0", "::") else host
    (settings.dagster_home / SERVER_RECORD).write_text(f"{process_tag()}\nhttp://{shown}:{port}\n")


def ui_address(settings: Settings) -> str:
    """Where people reach the UI, without a last slash: as the settings say, or where it was served last."""
    if settings.ui_url:
        return settings.ui_url.rstrip("/")
    return (_record(settings.dagster_home)[1:] or [f"http://{LOCALHOST}:{PORT}"])[0]


def keep_renamed_schedules(instance: dg.DagsterInstance) -> None:
    """Give each schedule that was renamed the state it had under its old name: on or off, and its last tick."""
    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    for old, new in RENAMED_SCHEDULES.items():
        if (state := states.get(old)) is None:
            continue
        if new not in states:
            repository = state.origin.repository_origin
            origin = type(state.origin)(repository_origin=repository, instigator_name=new)
            instance.add_instigator_state(state._replace(origin=origin))
        instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)


def _server(dagster_home: Path) -> str | None:
    record = _record(dagster_home)
    return record[0] if record else None


def _record(dagster_home: Path) -> list[str]:
    """The tag of the process that serves the state folder and its UI's address, which older releases left out."""
    record = dagster_home / SERVER_RECORD
    return record.read_text().split() if record.exists() else []


def _is_of_this_host(tag: str) -> bool:
    return tag.split("/")[0] == socket.gethostname()


def _end_orphans(dagster_home: Path) -> None:
    """End the web server and the daemon that a killed `dagster dev` left behind: they hold the port."""
    orphans = [process for process in psutil.process_iter() if _serves(process, dagster_home)]
    for process in orphans:
        process.terminate()
    _, stubborn = psutil.wait_procs(orphans, timeout=10)
    for process in stubborn:
        process.kill()


def _serves(process: psutil.Process, dagster_home: Path) -> bool:
    try:
        module = process.cmdline()[1:3]
        if module not in (["-m", "dagster_webserver"], ["-m", "dagster._daemon"]):
            return False
        return process.environ().get("DAGSTER_HOME") == str(dagster_home)
    except psutil.Error:
        return False


def job_origin(job_name: str, project_dir: Path) -> RemoteJobOrigin:
    """Where the UI finds a job, so that runs started by ``gtm`` are linked to their code like any other."""
    target = LoadableTargetOrigin(module_name=MODULE, working_directory=str(project_dir))
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=CODE_LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job_name)
