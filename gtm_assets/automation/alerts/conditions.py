"""Conditions: what is wrong now, read from Dagster's records. Nothing is remembered here and nothing is told.

**Runs.** Each asset counts for one kind of work: raw tables for ``extract``, models and the published file for
``transform``, anything else for its job. A run of checks alone counts for its job too. A run that fails marks what
it failed at; a later run, of whatever job, that succeeds at it clears it. So a ``refresh`` that landed its tables
clears a failed ``extract``, also where it then fails to build. A cancelled run says nothing.

**Checks.** The latest result counts, once its run is over: by then the run's own fate and all its checks are
known, so they can be told together. Until then, and where a check was planned and did not run, it is unknown:
nothing is opened and nothing is resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

from gtm_assets.automation.alerts.matrix import Event, Matrix, Severity
from gtm_assets.dbt.assets import LAYERS
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.runtime.dagster_internals import (
    FINISHED_STATUSES,
    AssetCheckExecutionRecord,
    RunStepKeyStatsSnapshot,
    StepEventStatus,
)
from gtm_assets.runtime.dagster_internals import AssetCheckExecutionRecordStatus as CheckStatus
from gtm_assets.runtime.runs import INTRADAY_TAG, cause_of
from gtm_assets.serving.names import TELLS
from gtm_assets.settings import Settings

EXTRACT = "extract"
TRANSFORM = "transform"
CHECKS = "checks"
LOOKBACK = 100
"""At least this many finished runs are read, and more where an open incident is older."""
LONGEST_RUN = timedelta(days=2)
NO_REASON = "It gave no reason."
_OF_CHECK = "#"
"""It stands between the key of a check and what that tells of by itself."""
AD_HOC_JOB = "__ASSET_JOB"
"""What Dagster calls the job of a run that somebody made of single assets in the UI."""

Unit = dg.AssetKey | dg.AssetCheckKey | str
"""What a run can fail at: an asset, a check, or a job that has neither."""


@dataclass(frozen=True)
class Condition:
    """One thing that is wrong. The same key means the same thing at the next look."""

    key: str
    event: Event
    severity: Severity
    title: str
    detail: str
    since: datetime
    link: str
    """Path in the UI."""
    assets: frozenset[dg.AssetKey] = frozenset()
    """What waits because of it, downstream included."""
    run_ids: frozenset[str] = frozenset()
    """Of a run's condition the runs that failed; of a check the run that gave its result."""
    is_check: bool = False
    failed: bool = True
    """False for a check that only warned."""
    blocking: bool = False


@dataclass(frozen=True)
class Observation:
    """What is wrong now, by key, and the keys of which nothing can be said yet."""

    conditions: Mapping[str, Condition]
    unknown: frozenset[str]

    def says_nothing_of(self, key: str) -> bool:
        """Whether nothing can be said yet of a condition: a check is under way that has it, or tells of it."""
        return key in self.unknown or key.partition(_OF_CHECK)[0] in self.unknown


def observe(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    settings: Settings,
    matrix: Matrix,
    now: datetime,
    since: datetime | None = None,
) -> Observation:
    """All conditions of the moment. ``since``: the oldest open incident, whose runs have to be looked at again."""
    graph = _Graph(repository)
    # Unfinished runs are read first: one that ends meanwhile counts as unfinished, until the next look.
    unfinished = instance.get_run_records(RunsFilter(statuses=_UNFINISHED))
    going_on = {record.dagster_run.run_id for record in unfinished}
    ended = [r for r in _ended(instance, since) if r.dagster_run.run_id not in going_on]
    attempts = [_attempt(instance, graph, record) for record in ended]
    checks, unknown = _checks(instance, graph, matrix, going_on)
    conditions = [
        *_failures(instance, graph, attempts, settings),
        *_durations(instance, graph, [*unfinished, *ended], settings, now),
        *checks,
    ]
    return Observation({condition.key: condition for condition in conditions}, frozenset(unknown))


_UNFINISHED = [status for status in DagsterRunStatus if status not in FINISHED_STATUSES]


def _ended(instance: dg.DagsterInstance, since: datetime | None) -> Sequence[dg.RunRecord]:
    """Runs that are over, newest first."""
    statuses = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]
    newest = instance.get_run_records(RunsFilter(statuses=statuses), limit=LOOKBACK)
    if since is None or len(newest) < LOOKBACK:
        return newest
    # The run began before the incident did, which begins when its run ends.
    return instance.get_run_records(RunsFilter(statuses=statuses, created_after=since - LONGEST_RUN)) or newest


# -- what belongs to what --------------------------------------------------------------------------------------


class _Graph:
    """The code location's assets: their steps, the work that each counts for, and what stands below them."""

    def __init__(self, repository: dg.RepositoryDefinition) -> None:
        self.repository, self.assets = repository, repository.asset_graph
        self._by_step: dict[str, set[Unit]] = {}
        keys: list[dg.AssetKey | dg.AssetCheckKey] = [
            *self.assets.executable_asset_keys,
            *self.assets.asset_check_keys,
        ]
        for key in keys:
            step = self.assets.assets_def_for_key(key).node_def.name
            self._by_step.setdefault(step, set()).add(key)

    def planned(self, run: dg.DagsterRun) -> frozenset[Unit]:
        """What a run was to do: its assets and checks, or the job itself where it has neither."""
        assets, checks = run.asset_selection, run.asset_check_selection
        if not assets and run.job_name != AD_HOC_JOB and self.repository.has_job(run.job_name):
            assets = self.repository.get_job(run.job_name).asset_layer.selected_asset_keys
            checks = None if assets else checks
        assets = frozenset(assets or ())
        if checks is None:
            checks = {check for check in self.assets.asset_check_keys if check.asset_key in assets}
        return frozenset(assets | checks) or frozenset({run.job_name})

    def of_step(self, step: str) -> set[Unit]:
        """What a step of a run does."""
        return self._by_step.get(step, set())

    def work(self, unit: Unit, planned: frozenset[Unit], job: str) -> str:
        """The work that a failure at this unit of a run counts for."""
        if isinstance(unit, str):
            return unit
        asset = unit.asset_key if isinstance(unit, dg.AssetCheckKey) else unit
        if asset not in planned:
            return CHECKS if job == AD_HOC_JOB else job
        layer = self.assets.get(asset).tags.get("layer") if self.assets.has(asset) else None
        if layer == "raw":
            return EXTRACT
        if layer in LAYERS or asset == PUBLISHED:
            return TRANSFORM
        return asset.to_user_string() if job == AD_HOC_JOB else job

    def extracts(self, run: dg.DagsterRun, units: Iterable[Unit]) -> bool:
        """Whether a run lands one of these."""
        planned = self.planned(run)
        return any(self.work(unit, planned, run.job_name) == EXTRACT for unit in units)

    def downstream(self, assets: Iterable[dg.AssetKey]) -> set[dg.AssetKey]:
        """What stands below these assets."""
        found: set[dg.AssetKey] = set()
        waiting = [asset for asset in assets if self.assets.has(asset)]
        while waiting:
            for child in self.assets.get(waiting.pop()).child_keys - found:
                found.add(child)
                waiting.append(child)
        return found


# -- runs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Attempt:
    """How a run that is over ended: what it failed at, by work, and what it succeeded at."""

    record: dg.RunRecord
    failed: Mapping[str, frozenset[Unit]]
    succeeded: frozenset[Unit]

    @property
    def ended(self) -> datetime:
        return datetime.fromtimestamp(self.record.end_time or self.record.update_timestamp.timestamp(), UTC)


def _attempt(instance: dg.DagsterInstance, graph: _Graph, record: dg.RunRecord) -> _Attempt:
    run = record.dagster_run
    planned = graph.planned(run)
    failed: AbstractSet[Unit] = set()
    succeeded = set(planned)
    if run.status == DagsterRunStatus.FAILURE:
        steps = instance.get_run_step_stats(run.run_id)
        well = {unit for s in steps if s.status == StepEventStatus.SUCCESS for unit in graph.of_step(s.step_key)}
        broken = [s for s in steps if s.status in (StepEventStatus.FAILURE, StepEventStatus.IN_PROGRESS)]
        succeeded = well & planned
        failed = {unit for s in broken for unit in graph.of_step(s.step_key)} & planned
        # The run was killed between two steps, or before the first.
        failed = failed or planned - well or set(planned)
    by_work: dict[str, set[Unit]] = {}
    for unit in failed:
        by_work.setdefault(graph.work(unit, planned, run.job_name), set()).add(unit)
    return _Attempt(
        record,
        {work: frozenset(units) for work, units in by_work.items()},
        frozenset(succeeded),
    )


def _failures(
    instance: dg.DagsterInstance, graph: _Graph, attempts: Sequence[_Attempt], settings: Settings
) -> list[Condition]:
    recovered: set[Unit] = set()
    rows: dict[str, list[_Attempt]] = {}
    # Runs come newest first. A unit that succeeded since has not failed, so the failures that remain are in a row.
    for attempt in attempts:
        for work, units in attempt.failed.items():
            if units - recovered:
                rows.setdefault(work, []).append(attempt)
        recovered |= attempt.succeeded
    return [_failure(instance, graph, work, row, settings) for work, row in rows.items()]


def _failure(
    instance: dg.DagsterInstance, graph: _Graph, work: str, row: list[_Attempt], settings: Settings
) -> Condition:
    newest = row[0]
    run = newest.record.dagster_run
    # A refresh within the day that fails is made up for by the next. What has to come is the day's own run.
    of_days = sum(INTRADAY_TAG not in attempt.record.dagster_run.tags for attempt in row)
    critical = of_days >= (1 if work == TRANSFORM else settings.alert_failed_syncs)
    assets = {u for attempt in row for u in attempt.failed[work] if isinstance(u, dg.AssetKey)}
    run_ids = frozenset(attempt.record.dagster_run.run_id for attempt in row)
    built = {
        record.asset_entry.asset_key
        for record in instance.get_asset_records(sorted(assets))
        if record.asset_entry.last_materialization_record
        and record.asset_entry.last_materialization_record.run_id in run_ids
    }
    return Condition(
        key=f"run:{work}",
        event=Event.RUN,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        title=f"{work} failed" + (f" {len(row)} times in a row" if len(row) > 1 else ""),
        detail=_cause(instance, graph, run.run_id, newest.failed[work]),
        since=row[-1].ended,
        link=f"/runs/{run.run_id}",
        assets=frozenset((assets - built) | graph.downstream(assets - built)),
        run_ids=run_ids,
    )


def _cause(instance: dg.DagsterInstance, graph: _Graph, run_id: str, failed: frozenset[Unit]) -> str:
    """What each failed step said. A sentence that several said comes once."""
    steps_by_cause: dict[str, list[str]] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        step, error = event.step_key or "", event.step_failure_data.error
        units = graph.of_step(step)
        if not units or units & failed:
            # Dagster does not record an error with every failure.
            cause = cause_of(error, traceback=False) if error else event.message or NO_REASON
            steps_by_cause.setdefault(cause, []).append(step)
    if steps_by_cause:
        return "\n".join(f"{_some(steps)}: {text}" for text, steps in steps_by_cause.items())
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE):
        return entry.get_dagster_event().message or NO_REASON
    return NO_REASON


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _durations(
    instance: dg.DagsterInstance,
    graph: _Graph,
    records: Iterable[dg.RunRecord],
    settings: Settings,
    now: datetime,
) -> Iterable[Condition]:
    """The run that extracts, or else the last that did, where that takes or took too long."""
    limit = timedelta(minutes=settings.alert_extract_minutes)
    for record in records:
        run = record.dagster_run
        if record.start_time is None or not graph.extracts(run, graph.planned(run)):
            continue
        began, took = _extraction(instance.get_run_step_stats(run.run_id), graph, run, now)
        if took > limit:
            is_over = run.status in FINISHED_STATUSES
            minutes = f"{took.total_seconds() / 60:,.0f} minutes"
            yield Condition(
                key="duration:extract",
                event=Event.DURATION,
                severity=Severity.WARNING,
                title="extract took too long" if is_over else "extract takes too long",
                detail=f"It {'took' if is_over else 'has taken'} {minutes}; "
                f"{settings.alert_extract_minutes} are allowed (GTM_ALERT_EXTRACT_MINUTES).",
                since=began + limit,
                link=f"/runs/{run.run_id}",
            )
            return
        if run.status in FINISHED_STATUSES:
            return


def _extraction(
    steps: Sequence[RunStepKeyStatsSnapshot], graph: _Graph, run: dg.DagsterRun, now: datetime
) -> tuple[datetime, timedelta]:
    """When a run began to extract, and how long that took so far."""
    raw = [step for step in steps if step.start_time and graph.extracts(run, graph.of_step(step.step_key))]
    if not raw:
        return now, timedelta(0)
    began = datetime.fromtimestamp(min(step.start_time for step in raw if step.start_time), UTC)
    running = run.status not in FINISHED_STATUSES and any(step.end_time is None for step in raw)
    last = max((step.end_time for step in raw if step.end_time), default=began.timestamp())
    return began, (now if running else datetime.fromtimestamp(last, UTC)) - began


# -- checks ----------------------------------------------------------------------------------------------------


def _checks(
    instance: dg.DagsterInstance, graph: _Graph, matrix: Matrix, going_on: set[str]
) -> tuple[list[Condition], set[str]]:
    keys = sorted(graph.assets.asset_check_keys)
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    conditions, unknown = [], set()
    for key in keys:
        record = records.get(key)
        if record is None:
            continue
        if record.run_id in going_on or record.status == CheckStatus.PLANNED:
            unknown.add(check_key(key))
            continue
        if told := _told_by_check(matrix, key, record):
            conditions += told
        elif record.status != CheckStatus.SUCCEEDED:
            conditions.append(_of_check(graph, matrix, key, record))
    return conditions, unknown


def _told_by_check(matrix: Matrix, key: dg.AssetCheckKey, record: AssetCheckExecutionRecord) -> list[Condition]:
    """The conditions that a check's result lists itself, in place of the one that it failed or warned."""
    evaluation = record.evaluation
    if evaluation is None or record.event is None or TELLS not in evaluation.metadata:
        return []
    listed: Any = evaluation.metadata[TELLS].value
    event, _ = matrix.of_check(key.name, failed=not evaluation.passed, blocking=False)
    return [
        Condition(
            key=f"{check_key(key)}{_OF_CHECK}{told['key']}",
            event=event,
            severity=Severity(told["severity"]),
            title=told["title"],
            detail=told["detail"],
            since=datetime.fromtimestamp(record.event.timestamp, UTC),
            link=check_path(key),
        )
        for told in listed
    ]


def check_key(check: dg.AssetCheckKey) -> str:
    """The key of a check's condition."""
    return f"check:{check.asset_key.to_user_string()}:{check.name}"


def _of_check(
    graph: _Graph, matrix: Matrix, key: dg.AssetCheckKey, record: AssetCheckExecutionRecord
) -> Condition:
    evaluation = record.evaluation
    # A check that has run has both: only one that was planned may lack them.
    assert evaluation is not None and record.event is not None
    failed = evaluation.severity == dg.AssetCheckSeverity.ERROR
    blocking = graph.assets.get_check_spec(key).blocking
    event, severity = matrix.of_check(key.name, failed, blocking)
    rows = evaluation.metadata.get("dagster_dbt/failed_row_count")
    waiting = graph.downstream([key.asset_key]) if event in _HOLD_UP or (failed and blocking) else set()
    if event in _HOLD_UP:
        waiting.add(key.asset_key)
    return Condition(
        key=check_key(key),
        event=event,
        severity=severity,
        title=f"{key.asset_key.to_user_string()}: {key.name} {'failed' if failed else 'warned'}",
        detail=evaluation.description or (f"{rows.value:,} rows." if rows else ""),
        since=datetime.fromtimestamp(record.event.timestamp, UTC),
        link=check_path(key),
        assets=frozenset(waiting),
        run_ids=frozenset({record.run_id} if record.run_id else ()),
        is_check=True,
        failed=failed,
        blocking=blocking,
    )


_HOLD_UP = (Event.FRESHNESS, Event.PERMISSION)
"""The table itself does not come in, so it waits with all that is made of it."""


def check_path(check: dg.AssetCheckKey) -> str:
    """Where the UI shows a check."""
    asset = "/".join(quote(part, safe="") for part in check.asset_key.path)
    return f"/assets/{asset}?view=checks&checkDetail={quote(check.name, safe='')}"
