"""The sensors: one starts the transformation once a day has landed, and one lands the days that were missed.

What has landed is read from the lake and not from Dagster's records: the files are what will be built, including
those that a quarantine retry, another Dagster home or a restored backup brought.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter

from gtm_assets import clock
from gtm_assets.automation.jobs import Jobs
from gtm_assets.automation.schedules import on_by_default
from gtm_assets.automation.under_way import landed_by, landings, some, unfinished
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.dbt.warehouse import WarehouseBusy
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.publishing.publish import BATCHES, batches_digest, verdicts
from gtm_assets.runtime.instance import end_dead_runs
from gtm_assets.runtime.retries import REPEATED_WHEN_KILLED
from gtm_assets.runtime.runs import backfills_under_way, range_of, range_tags
from gtm_assets.settings import Settings
from gtm_assets.sources.extractions import Extraction, extractions, missing
from gtm_assets.sources.raw_asset import asset_key

GRACE = timedelta(minutes=10)
"""The transformation of a day waits this long after the day's end, because the daily extraction takes time."""
OVERDUE = timedelta(minutes=60)
"""A partition that has not landed this long after its end was missed."""
FIRST_PAUSE = timedelta(minutes=15)
LONGEST_PAUSE = timedelta(hours=24)
CONTENT_TAG = "gtm/landed"
"""The tag of a run that a sensor asked for: it holds the day and the digest of what the run builds."""
AT_ONCE = 4
"""At most this many extractions are asked for at a time."""


def all_sensors(
    settings: Settings,
    calendar: Calendar,
    lake: Lake,
    checks: CheckRegistry,
    tables: Sequence[RawTable],
    jobs: Jobs,
) -> Sequence[dg.SensorDefinition]:
    """The sensors. ``checks`` are all checks that publishing looks at; ``tables`` are those landed."""
    raw = {asset_key(table) for table in tables}
    status = dg.DefaultSensorStatus.RUNNING if on_by_default(settings) else dg.DefaultSensorStatus.STOPPED
    blocking = checks.blocking_of(raw)

    @dg.sensor(
        job=jobs.transform,
        minimum_interval_seconds=60,
        default_status=status,
        description="Build and publish once the newest day that is over has landed whole and passed its checks.",
    )
    def transform_when_landed(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        end_dead_runs(context.instance)
        return transformation(context.instance, calendar, lake, tables, blocking, clock.now())

    @dg.sensor(
        job=jobs.extract,
        minimum_interval_seconds=300,
        default_status=status,
        description="Land the days that are over and that no run has landed: missed ticks, failed extractions, "
        "tables that could not be read. Pauses grow while the same day fails again.",
    )
    def catch_up(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        end_dead_runs(context.instance)
        return missed(context.instance, calendar, lake, tables, clock.now(), context.cursor)

    return [transform_when_landed, catch_up]


# -- the transformation ------------------------------------------------------------------------------------------


def transformation(
    instance: dg.DagsterInstance,
    calendar: Calendar,
    lake: Lake,
    tables: Sequence[RawTable],
    blocking: CheckRegistry,
    now: datetime,
) -> dg.RunRequest | dg.SkipReason:
    """The run that builds the newest day that is over, or why there is none now.

    Each content of the lake is built once: the run's key is the day and a digest of all batches. So a day that is
    landed or repaired later, or an older one that is filled, is built again when no extraction is under way. A
    build that failed is tried again only where somebody had the warehouse open, which passes.
    """
    over = calendar.closed(now)
    if not over:
        return dg.SkipReason("No partition is over yet.")
    day = over[-1]
    ready_at = calendar.window(day).end + GRACE
    if now < ready_at:
        return dg.SkipReason(f"Partition {day} has just ended: its transformation begins at {ready_at:%H:%M} UTC.")
    absent = [table.name for table in tables if not lake.has_landed(table, day)]
    if absent:
        return dg.SkipReason(f"Partition {day} waits for {len(absent)} of {len(tables)} tables: {some(absent)}.")
    if landing := landings(instance, tables):
        return dg.SkipReason(f"Waits for {len(landing)} extractions: {some([r.run_id[:8] for r in landing])}.")
    failed = [v.check for v in verdicts(instance, blocking) if v.outcome == "failed"]
    if failed:
        names = [f"{check.asset_key.to_user_string()} {check.name}" for check in failed]
        return dg.SkipReason(f"{len(failed)} blocking checks of raw tables failed: {some(names)}.")
    # Tables of the open day that landed early are built with that day, or by whoever landed them. No run of ours
    # builds half a day.
    over_batches = (batch for table in tables for batch in lake.batches(table) if batch.partition <= day)
    digest = batches_digest((batch.table, batch.batch_id) for batch in over_batches)
    if digest == _published_digest(instance):
        return dg.SkipReason(f"All that has landed up to {day} is published.")
    content = f"{day} {digest}"
    tried = instance.get_run_records(RunsFilter(tags={CONTENT_TAG: content}))
    if tried and (reason := _not_again(instance, tried, day, now)):
        return dg.SkipReason(reason)
    return dg.RunRequest(
        run_key=f"{content} {len(tried)}" if tried else content,
        tags={**REPEATED_WHEN_KILLED, CONTENT_TAG: content},
    )


def _not_again(instance: dg.DagsterInstance, tried: Sequence[dg.RunRecord], day: str, now: datetime) -> str | None:
    """Why what was asked for in these runs, newest first, is not asked for again now; None where it is."""
    newest, ended = tried[0].dagster_run, tried[0].end_time
    if ended is None:
        return f"Run {newest.run_id[:8]} builds what has landed up to {day}."
    if newest.status != DagsterRunStatus.FAILURE or not _was_locked_out(instance, newest):
        return (
            f"Run {newest.run_id[:8]} was asked to build what has landed up to {day}: see there. "
            "Once what it says is mended, run: gtm run"
        )
    attempts = _Attempts(len(tried), datetime.fromtimestamp(ended, UTC))
    if now < attempts.next():
        return (
            f"The warehouse was open elsewhere in run {newest.run_id[:8]}; "
            f"the next attempt is at {attempts.next():%Y-%m-%d %H:%M} UTC."
        )
    return None


def _was_locked_out(instance: dg.DagsterInstance, run: DagsterRun) -> bool:
    """Whether a run failed because a program outside of the platform had the warehouse open."""
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE):
        error = entry.get_dagster_event().step_failure_data.error
        while error is not None:
            if error.cls_name == WarehouseBusy.__name__:
                return True
            error = error.cause
    return False


def _published_digest(instance: dg.DagsterInstance) -> str | None:
    event = instance.get_latest_materialization_event(PUBLISHED)
    if event is None or event.asset_materialization is None:
        return None
    digest = event.asset_materialization.metadata.get(BATCHES)
    return None if digest is None else str(digest.value)


# -- what was missed ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Attempts:
    """How often an extraction was asked for, and when last."""

    count: int
    last: datetime

    def next(self) -> datetime:
        pause: timedelta = min(FIRST_PAUSE * 2 ** min(self.count - 1, 16), LONGEST_PAUSE)
        return self.last + pause


def missed(
    instance: dg.DagsterInstance,
    calendar: Calendar,
    lake: Lake,
    tables: Sequence[RawTable],
    now: datetime,
    cursor: str | None,
) -> dg.SensorResult | dg.SkipReason:
    """Runs for the partitions that should have landed and that no run is about to land, oldest first.

    ``cursor`` holds the attempts made at each: their pauses grow, so that a dead source isn't hammered.
    """
    if backfills := backfills_under_way(instance):
        return dg.SkipReason(f"Backfill {backfills[0]} is under way.")
    wanted = missing(lake, tables, calendar.closed(now - OVERDUE))
    for run in unfinished(instance):
        for table in landed_by(run, tables):
            wanted[table] = [key for key in wanted[table] if not _lands(run, key)]
    kept = {table for table, keys in wanted.items() if keys and keys == _unreadable_and_over(lake, table)[-1:]}
    plan = {_name(extraction, kept): extraction for extraction in extractions(wanted)}
    before = {name: attempts for name, attempts in _attempts(cursor).items() if name in plan}
    due = [name for name in plan if name not in before or before[name].next() <= now][:AT_ONCE]
    attempts = before | {name: _Attempts(before[name].count + 1 if name in before else 1, now) for name in due}
    reason = None
    if plan and not due:
        soonest = min(attempts[name].next() for name in plan)
        reason = f"{len(plan)} extractions are missing; the next attempt is at {soonest:%Y-%m-%d %H:%M} UTC."
    elif not plan:
        reason = "Nothing was missed."
    return dg.SensorResult(
        run_requests=[_request(plan[name]) for name in due] or None,
        skip_reason=reason,
        cursor=json.dumps({name: [a.count, a.last.isoformat()] for name, a in attempts.items()}),
    )


def _unreadable_and_over(lake: Lake, table: RawTable) -> list[str]:
    early = lake.landed_early(table)
    return [key for key in lake.unreadable_partitions(table) if key not in early]


def _attempts(cursor: str | None) -> dict[str, _Attempts]:
    return {
        name: _Attempts(count, datetime.fromisoformat(last))
        for name, (count, last) in json.loads(cursor or "{}").items()
    }


def _name(extraction: Extraction, kept: set[RawTable]) -> str:
    """The name of an extraction. It stays the same while the extraction fails, though further days may join it.

    Where the source doesn't let us read the tables, each day asks for its own partition, as the same attempt.
    """
    tables = hashlib.md5(" ".join(sorted(t.qualified_name for t in extraction.tables)).encode()).hexdigest()
    first = "unreadable" if kept.issuperset(extraction.tables) else extraction.partitions[0]
    return f"{first} {tables[:8]}"


def _request(extraction: Extraction) -> dg.RunRequest:
    return dg.RunRequest(
        asset_selection=[asset_key(table) for table in extraction.tables],
        tags={**REPEATED_WHEN_KILLED, **range_tags(extraction.partitions)},
    )


def _lands(run: DagsterRun, key: str) -> bool:
    ends = range_of(run.tags)
    return ends is not None and ends[0] <= key <= ends[1]
