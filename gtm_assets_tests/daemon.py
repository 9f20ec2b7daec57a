"""Dagster's daemon for tests: its own scheduler and sensor logic, at the time that the test says, in this process.

    with daemon(settings) as d:
        d.at(la(2026, 3, 8, 21, 40))
        runs = d.at(la(2026, 3, 8, 21, 49)) + d.at(la(2026, 3, 8, 22, 0))

:meth:`Daemon.at` sets every clock, lets the scheduler, all sensors that are switched on and the repetition of
killed runs do what is due, and executes the runs that they launch, one after the other, until nothing is left.
The code location is the real one for the settings, so that they decide what is switched on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from unittest import mock
from zoneinfo import ZoneInfo

import dagster as dg
from dagster import DagsterRun
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorTick
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._utils.error import SerializableErrorInfo

from gtm_assets import clock
from gtm_assets.definitions import definitions
from gtm_assets.partitions import TIMEZONE
from gtm_assets.runtime.instance import CODE_LOCATION, prepare_home
from gtm_assets.settings import Settings

LOGGER = logging.getLogger("gtm_assets_tests.daemon")
ROUNDS = 20
LAST = "alerts"
"""The sensor that looks at what the others did."""
_NUMBERS = count()
_EVENT_LOG = {"module": "gtm_assets.runtime.event_log", "class": "KeptOpenEventLogStorage"}
_IN_THIS_PROCESS = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
    "run_retries": {"enabled": True, "max_retries": 0, "retry_on_asset_or_op_failure": False},
    "telemetry": {"enabled": False},
}


@dataclass
class Daemon:
    """A daemon whose time stands still between two calls of :meth:`at`."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext
    repository: dg.RepositoryDefinition
    now: datetime = field(default=datetime(2000, 1, 1, tzinfo=UTC))
    _iterations: dict = field(default_factory=dict)
    _repetition: EventLogConsumerDaemon = field(default_factory=EventLogConsumerDaemon)

    def at(self, now: datetime) -> list[DagsterRun]:
        """What happens at ``now`` and, a minute a round, until sensors have nothing more to ask for.

        Returns the new runs, oldest first. Time never goes back.
        """
        assert now >= self.now, f"{now} is before {self.now}"
        self.now = now.astimezone(UTC)
        before = {run.run_id for run in self.instance.get_runs()}
        for _ in range(ROUNDS):
            known = self.instance.get_runs_count()
            with self.standing_still(), _in_order():
                _refuse_errors(launch_scheduled_runs(self.workspace, LOGGER, self.now, self._iterations))
                _refuse_errors(execute_sensor_iteration(self.workspace, LOGGER, None, None))
                _refuse_errors(self._repetition.run_iteration(self.workspace))
            if self.instance.get_runs_count() == known:
                break
            self.now += timedelta(seconds=61)
        return [run for run in self.instance.get_runs(ascending=True) if run.run_id not in before]

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Within it every clock shows the daemon's time: for what somebody does between two looks."""
        with freeze_time(self.now), mock.patch.object(clock, "now", lambda: self.now):
            yield

    def until(self, end: datetime, step: timedelta = timedelta(hours=1)) -> list[DagsterRun]:
        """What happens from now to ``end``, looked at in steps. A step costs about a tenth of a second."""
        runs = []
        while self.now < end:
            runs += self.at(min(max(self.now, self.now + step), end))
        return runs

    def ticks(self, name: str) -> list[InstigatorTick]:
        """The ticks of a schedule or sensor, oldest first."""
        (location,) = self.workspace.create_request_context().code_locations
        (repository,) = location.get_repositories().values()
        instigators = {i.name: i for i in [*repository.get_schedules(), *repository.get_sensors()]}
        remote = instigators[name]
        return self.instance.get_ticks(remote.get_remote_origin_id(), remote.selector_id)[::-1]


@contextmanager
def _in_order() -> Iterator[None]:
    """Within it schedules and sensors take their turns by name. Dagster shuffles them."""

    def by_name(instigators, key):
        return sorted(instigators, key=lambda instigator: (instigator.name == LAST, instigator.name))

    with (
        mock.patch("dagster._scheduler.scheduler.shuffled_round_robin_by_key", by_name),
        mock.patch("dagster._daemon.sensor.shuffled_round_robin_by_key", by_name),
    ):
        yield


def _refuse_errors(results: Iterable[object]) -> None:
    errors = [result for result in results if isinstance(result, SerializableErrorInfo)]
    assert not errors, "\n".join(error.to_string() for error in errors)


@contextmanager
def daemon(settings: Settings, began: datetime | None = None) -> Iterator[Daemon]:
    """A daemon that serves the state folder of the settings, with runs executed in this process.

    ``began`` is when the folder began, before which nothing in it is late; by default that is now.
    """
    with mock.patch.dict(os.environ):
        with mock.patch.object(clock, "now", lambda: began) if began else nullcontext():
            prepare_home(settings)
        # Under a name of its own: Dagster remembers what it loaded.
        attribute = f"served_{next(_NUMBERS)}"
        globals()[attribute] = served = definitions(settings)
        origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(module_name=__name__, attribute=attribute), location_name=CODE_LOCATION
        )
        records = {"base_dir": str(settings.dagster_home / "history" / "runs")}
        overrides = _IN_THIS_PROCESS | {"event_log_storage": {**_EVENT_LOG, "config": records}}
        with (
            dg.instance_for_test(temp_dir=str(settings.dagster_home), overrides=overrides) as instance,
            create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget(origin), instance) as workspace,
        ):
            yield Daemon(instance, workspace, served.get_repository_def())


def la(*of_datetime: int) -> datetime:
    """A time in Los Angeles."""
    return datetime(*of_datetime, tzinfo=ZoneInfo(TIMEZONE))
