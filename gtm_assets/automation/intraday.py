"""Refreshes within the day: the partition that is still open is landed again and again, built and published.

It is what ``gtm run --now`` does, by a schedule. The partition's own run, at its end, is another one: it lands
the partition whole, it is the one that is reconciled, and service levels are measured by it alone. So no refresh
begins between a partition's end and its publication.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import dagster as dg

from gtm_assets import clock
from gtm_assets.automation.jobs import REFRESH, TRANSFORM, Jobs
from gtm_assets.automation.schedules import NONE_IS_OVER, on_by_default
from gtm_assets.automation.under_way import landings, some
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import GtmError
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import BOUNDARY, TIMEZONE, Calendar, boundary, end_of, parse_day, refresh_of
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.runtime.instance import end_dead_runs
from gtm_assets.runtime.runs import INTRADAY_TAG, backfills_under_way
from gtm_assets.settings import DAY_MINUTES, REFRESH_MINUTES, Settings
from gtm_assets.sources.raw_asset import UNTIL_TAG, asset_key
from gtm_assets.sources.registry import refresh_minutes, refreshes, source_of

SCHEDULE = "refresh_intraday"


def schedules(
    settings: Settings, lake: Lake, tables: Sequence[RawTable], jobs: Jobs
) -> list[dg.ScheduleDefinition]:
    """The schedule of the refreshes; none where every source is refreshed daily.

    It is one for all intervals, and ticks at the shortest: of two schedules that tick at the same minute the later
    would wait for the other's run each time. Dagster makes up for the newest of the ticks that it missed alone.
    """
    minutes = min((REFRESH_MINUTES[refresh] for refresh in refreshes(settings).values()), default=DAY_MINUTES)
    if minutes == DAY_MINUTES:
        return []

    @dg.schedule(
        name=SCHEDULE,
        cron_schedule=cron(minutes),
        execution_timezone=TIMEZONE,
        job=jobs.refresh,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if on_by_default(settings) else dg.DefaultScheduleStatus.STOPPED
        ),
        description="Land the partition that is still open up to this minute, of the sources that are refreshed "
        "within the day; then build, prove and publish.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        end_dead_runs(context.instance)
        tick = context.scheduled_execution_time.astimezone(UTC)
        return refresh(context.instance, context.repository_def, settings, lake, tables, tick)

    return [schedule]


def cron(minutes: int) -> str:
    """When refreshes of an interval within the hour are due: whole intervals after the boundary."""
    of_hour = sorted((BOUNDARY.minute + start) % 60 for start in range(0, 60, minutes))
    return f"{','.join(map(str, of_hour))} * * * *"


def refresh(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    settings: Settings,
    lake: Lake,
    tables: Sequence[RawTable],
    tick: datetime,
) -> dg.RunRequest | dg.SkipReason:
    """The run that refreshes what is due at a tick (UTC), or why there is none.

    ``tables`` are all that we land. The run carries no tag that repeats it: the next tick makes up for it.
    """
    calendar = Calendar.of(settings)
    if reason := _own_run_comes_first(instance, calendar, lake, tables, tick):
        return dg.SkipReason(reason)
    key = calendar.open_at(tick)
    if key is None or end_of(key) <= clock.now():
        return dg.SkipReason("No partition is open.")
    if backfills := backfills_under_way(instance):
        return dg.SkipReason(f"Backfill {backfills[0]} is under way.")
    if landing := landings(instance, tables):
        return dg.SkipReason(f"Runs that land are under way: {some([run.run_id[:8] for run in landing])}.")
    wanted = due(settings, lake, tables, key, tick)
    if not wanted:
        return dg.SkipReason(f"Nothing is due: all has landed that was to by {tick:%H:%M} UTC.")
    # The job itself lands all tables.
    what = _narrowed(repository, wanted) if len(wanted) < len(tables) else (None, None)
    return dg.RunRequest(
        run_key=f"{tick:%Y-%m-%dT%H:%MZ}",
        partition_key=key,
        tags=dict.fromkeys((UNTIL_TAG, INTRADAY_TAG), tick.isoformat()),
        asset_selection=what[0],
        asset_check_keys=what[1],
    )


def due(settings: Settings, lake: Lake, tables: Sequence[RawTable], key: str, tick: datetime) -> list[RawTable]:
    """The tables whose newest refresh up to ``tick`` has not landed in the open partition ``key``.

    A source that tells what is new, as files do, is asked nothing while it tells nothing.
    """
    return [table for table in tables if _is_due(settings, lake, table, key, tick)]


def _is_due(settings: Settings, lake: Lake, table: RawTable, key: str, tick: datetime) -> bool:
    minutes, source = refresh_minutes(settings, table), source_of(table)
    if minutes == DAY_MINUTES:
        return False
    landed_until = lake.landed_early(table).get(key, boundary(parse_day(key)))
    if landed_until >= refresh_of(tick, minutes):
        return False
    if not source.tells_news(settings):
        return True
    # What can't be read is told by the partition's own run, which needs it.
    with suppress(GtmError):
        return source.has_news(settings, lake, table)
    return False


def _own_run_comes_first(
    instance: dg.DagsterInstance, calendar: Calendar, lake: Lake, tables: Sequence[RawTable], tick: datetime
) -> str | None:
    """Why the newest partition that is over comes first; None where it has landed and is published."""
    over = calendar.closed(tick)
    if not over:
        return NONE_IS_OVER
    newest = over[-1]
    if end_of(newest) == tick:
        return f"Partition {newest} ends at this minute: its own run is due."
    if absent := [table.name for table in tables if not lake.has_landed(table, newest)]:
        return f"Partition {newest} comes first: {len(absent)} of {len(tables)} tables lack it: {some(absent)}."
    published = _published_as_of(instance)
    if published is None or published < end_of(newest):
        return f"Partition {newest} comes first, which has landed and is not published. To publish it: gtm run"
    return None


def _published_as_of(instance: dg.DagsterInstance) -> datetime | None:
    event = instance.get_latest_materialization_event(PUBLISHED)
    as_of = event.asset_materialization.metadata.get("as_of") if event and event.asset_materialization else None
    return datetime.fromtimestamp(as_of.value, UTC) if isinstance(as_of, dg.TimestampMetadataValue) else None


def _narrowed(
    repository: dg.RepositoryDefinition, tables: Sequence[RawTable]
) -> tuple[list[dg.AssetKey], list[dg.AssetCheckKey]]:
    """What a run of the job is to do for some of the tables alone: assets, and the job's checks of them.

    Without these Dagster would take those of freshness too, which speak of days.
    """
    built = repository.get_job(TRANSFORM).asset_layer.executable_asset_keys
    assets = {*(asset_key(table) for table in tables), *built}
    made = repository.get_job(REFRESH).asset_layer.asset_graph.asset_check_keys
    return sorted(assets), sorted(check for check in made if check.asset_key in assets)
