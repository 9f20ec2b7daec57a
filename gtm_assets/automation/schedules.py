"""The schedules: what runs each day, each week and each month. The UI switches them on and off."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from gtm_assets.automation.jobs import Jobs
from gtm_assets.partitions import BOUNDARY, TIMEZONE, Calendar
from gtm_assets.runtime.dagster_internals import UnresolvedAssetJobDefinition
from gtm_assets.runtime.instance import FULL_EXTRACTION_SCHEDULE
from gtm_assets.runtime.retries import REPEATED_WHEN_KILLED
from gtm_assets.settings import Settings

NONE_IS_OVER = "No partition is over yet."
TRANSFORMED = "59 21 * * *"
MEASURED = "30 23 * * *"
"""It is after the day's last deadline."""
WEEKLY = "30 22 * * 0"
"""It is on Sunday, after the daily run of the partition that ends then."""

EXPIRED = "30 3 * * *"
WATCHED = "20 * * * *"
MONTHLY = "0 3 4 * *"
"""The month before the last is then older than the days that keep their own files."""


def on_by_default(settings: Settings) -> bool:
    """Whether automation runs without being switched on.

    It does on the synthetic organisation, as opening a UI must not spend a live one's API calls, and while the
    calendar goes on, as one that ends has no next day.
    """
    return settings.is_synthetic and Calendar.of(settings).last is None


def all_schedules(settings: Settings, jobs: Jobs) -> Sequence[dg.ScheduleDefinition]:
    """The schedules."""
    status = dg.DefaultScheduleStatus.RUNNING if on_by_default(settings) else dg.DefaultScheduleStatus.STOPPED
    return [
        _extraction(Calendar.of(settings), status, jobs),
        _weekly(Calendar.of(settings), status, jobs),
        _daily(MEASURED, jobs.measure, status),
        _by_clock("compact_monthly", MONTHLY, jobs.compact, status),
        *([_daily(EXPIRED, jobs.expire, status)] if settings.engine == "spark" else []),
        *_watching(settings, jobs, status),
    ]


def of_external_tables(settings: Settings, jobs: Jobs, lands: bool) -> Sequence[dg.ScheduleDefinition]:
    """The schedules where another loader fills raw tables. They are off: only its owner knows when they are full.

    ``lands`` says whether another source is extracted beside it.
    """
    off = dg.DefaultScheduleStatus.STOPPED
    extraction = [_extraction(Calendar.of(settings), off, jobs)] if lands else []
    return [_daily(TRANSFORMED, jobs.transform, off), *extraction, *_watching(settings, jobs, off)]


def _watching(settings: Settings, jobs: Jobs, status: dg.DefaultScheduleStatus) -> Sequence[dg.ScheduleDefinition]:
    """Of the server to which what is published is brought."""
    return [_by_clock("watch_hourly", WATCHED, jobs.watch, status)] if settings.serves else []


def _extraction(calendar: Calendar, status: dg.DefaultScheduleStatus, jobs: Jobs) -> dg.ScheduleDefinition:
    # The schedule ticks at the partitions' own boundary, so that in summer and winter the newest one is over. The
    # one that Dagster builds from a partitioned job would take the one that is still open.
    @dg.schedule(
        name="extract_daily",
        cron_schedule=f"{BOUNDARY.minute} {BOUNDARY.hour} * * *",
        execution_timezone=TIMEZONE,
        job=jobs.extract,
        default_status=status,
        description="Land the partition that ends at this moment.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        over = calendar.closed(context.scheduled_execution_time)
        if not over:
            return dg.SkipReason(NONE_IS_OVER)
        return dg.RunRequest(run_key=over[-1], partition_key=over[-1], tags=REPEATED_WHEN_KILLED)

    return schedule


def _daily(
    cron: str, job: UnresolvedAssetJobDefinition, status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    return _by_clock(f"{job.name}_daily", cron, job, status)


def _by_clock(
    name: str, cron: str, job: UnresolvedAssetJobDefinition, status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        cron_schedule=cron,
        execution_timezone=TIMEZONE,
        job=job,
        default_status=status,
        tags=REPEATED_WHEN_KILLED,
    )


def _weekly(calendar: Calendar, status: dg.DefaultScheduleStatus, jobs: Jobs) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=FULL_EXTRACTION_SCHEDULE,
        cron_schedule=WEEKLY,
        execution_timezone=TIMEZONE,
        job=jobs.full_extraction,
        default_status=status,
        description="Compare every raw table with the whole source, for the newest partition that is over, and "
        "rebuild every model.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        over = calendar.closed(context.scheduled_execution_time)
        if not over:
            return dg.SkipReason(NONE_IS_OVER)
        return dg.RunRequest(
            partition_key=over[-1],
            run_config=jobs.full_config,
            tags=REPEATED_WHEN_KILLED,
        )

    return schedule
