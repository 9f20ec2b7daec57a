"""The checks that say whether the day is there. A sensor makes them each minute, and people on demand."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gtm_assets import clock, place
from gtm_assets.automation.schedules import on_by_default
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks.freshness import (
    LANDED,
    PUBLISHED,
    SILENCE_DAYS,
    Deadline,
    landed_on_time,
    published_on_time,
)
from gtm_assets.finding import Finding
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import BOUNDARY, TIMEZONE, Calendar
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED_ASSET
from gtm_assets.settings import DAY_MINUTES, REFRESH_MINUTES, Settings
from gtm_assets.sources.raw_asset import asset_key
from gtm_assets.sources.registry import extracted


class Freshness:
    """The freshness of one state folder: of each raw table, and of the published file."""

    def __init__(self, settings: Settings, lake: Lake, tables: Sequence[RawTable]) -> None:
        """Nothing is read before it is asked for."""
        self._settings, self._lake = settings, lake
        self.calendar = Calendar.of(settings)
        self.tables = {dg.AssetCheckKey(asset_key(table), LANDED): table for table in tables}
        self.published = dg.AssetCheckKey(PUBLISHED_ASSET, PUBLISHED)

    @property
    def keys(self) -> list[dg.AssetCheckKey]:
        """The keys of its checks."""
        return [*self.tables, self.published]

    def finding(self, key: dg.AssetCheckKey, now: datetime) -> Finding:
        """The finding of one of its checks at an instant. What can't be read is not fresh."""
        try:
            return self._finding(key, now)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            what = self.tables[key].qualified_name if key in self.tables else "the published file"
            return Finding(
                passed=False,
                sentence=f"{what} can't be read: {error}. Close it where it is open for writing; gtm doctor names "
                "what is damaged, and says how to land or publish it again",
            )

    def _finding(self, key: dg.AssetCheckKey, now: datetime) -> Finding:
        if key == self.published:
            as_of = published_as_of(self._settings.published_path)
            return published_on_time(self.calendar, as_of, now, publishing_deadline(self._settings))
        table = self.tables[key]
        early = self._lake.landed_early(table)
        recent = [day for day in self.calendar.closed(now)[-SILENCE_DAYS:] if day not in early]
        landed = {partition: _records(self._lake, table, partition) for partition in recent}
        return landed_on_time(
            table.qualified_name,
            self.calendar,
            {partition: count for partition, count in landed.items() if count is not None},
            now,
            landing_deadline(self._settings),
        )


def landing_deadline(settings: Settings) -> Deadline:
    """The time by which a partition is to have landed, counted from its end."""
    return Deadline(
        timedelta(0),
        timedelta(minutes=settings.landing_late_minutes),
        timedelta(minutes=settings.landing_missed_minutes),
    )


def publishing_deadline(settings: Settings) -> Deadline:
    """The time by which a partition is to be published, counted from its end."""
    return Deadline(
        timedelta(minutes=settings.publish_deadline_minutes),
        timedelta(minutes=settings.publish_late_minutes),
        timedelta(minutes=settings.publish_missed_minutes),
    )


def _records(lake: Lake, table: RawTable, partition: str) -> int | None:
    files = place.found(lake.partition_dir(table, partition), "*.parquet")
    return sum(pq.read_metadata(place.opened(file)).num_rows for file in files) if files else None


def published_as_of(path: Path) -> datetime | None:
    """The instant up to which the published file knows; None where nothing is published."""
    if not path.exists():
        return None
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        row: tuple[datetime] | None = connection.execute("select as_of from gtm_meta.publication").fetchone()
    return row[0] if row else None


def freshness_checks(freshness: Freshness) -> dg.AssetChecksDefinition:
    """The checks, for whoever wants them now. No job makes them: while a backfill runs, days are missing."""
    specs = [
        dg.AssetCheckSpec(key.name, asset=key.asset_key, description=_DESCRIPTIONS[key.name])
        for key in freshness.keys
    ]

    @dg.multi_asset_check(name="freshness", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = clock.now()
        for key in sorted(context.selected_asset_check_keys):
            yield freshness.finding(key, now).result(key)

    return check


_DESCRIPTIONS = {
    LANDED: "Every partition that is over has landed, and the table has not fallen silent.",
    PUBLISHED: "The newest partition that is over is published.",
}


def freshness_sensor(settings: Settings, freshness: Freshness) -> dg.SensorDefinition:
    """Makes the checks each minute and records a result where it differs from the one before, or for a new day."""
    running, stopped = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="freshness",
        minimum_interval_seconds=60,
        default_status=running if on_by_default(settings) else stopped,
        description="Says of each raw table and of the published file whether the newest day is there in time.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told = json.loads(context.cursor or "{}")
        now = clock.now()
        states = {}
        for key in freshness.keys:
            finding = freshness.finding(key, now)
            name = f"{key.asset_key.to_user_string()} {key.name}"
            states[name] = _state(finding, freshness.calendar, now)
            if states[name] != told.get(name):
                context.instance.report_runless_asset_event(finding.evaluation(key))
        context.update_cursor(json.dumps(states))
        late = [name for name, state in states.items() if not state.endswith("passed")]
        return dg.SkipReason(f"Not fresh: {', '.join(late)}." if late else "All is fresh.")

    return sensor


def _state(finding: Finding, calendar: Calendar, now: datetime) -> str:
    over = calendar.closed(now)
    return f"{over[-1] if over else ''} {'passed' if finding.passed else finding.severity.value}"


def policies(settings: Settings) -> Mapping[str, dg.FreshnessPolicy]:
    """Dagster's own policies by source, for raw tables, and by layer, for what is built and published.

    What is refreshed daily is to be made after the day's end and before its deadline; what is refreshed within the
    day, at most an interval and that deadline ago, so that a refresh that waits for the day's own run is none that
    is late. Files are landed when they are new, for which there is no interval.

    There are none on a calendar that ends, as no day follows, and none where another loader fills the raw tables,
    as it has deadlines of its own.
    """
    if settings.is_external or Calendar.of(settings).last is not None:
        return {}
    landing, publishing = landing_deadline(settings), publishing_deadline(settings)
    minutes = {
        source.name: DAY_MINUTES if source.tells_news(settings) else REFRESH_MINUTES[source.refresh(settings)]
        for source in extracted(settings)
    }
    built = _policy(min(minutes.values()), publishing)
    raw = {source: _policy(interval, landing) for source, interval in minutes.items()}
    return {**raw, "core": built, "mart": built, "published": built}


def _policy(minutes: int, deadline: Deadline) -> dg.FreshnessPolicy:
    late, missed = deadline.due + deadline.late, deadline.due + deadline.missed
    if minutes == DAY_MINUTES:
        return _daily(missed)
    interval = timedelta(minutes=minutes)
    warns = late < missed
    return dg.FreshnessPolicy.time_window(interval + missed, warn_window=interval + late if warns else None)


def _daily(after: timedelta) -> dg.FreshnessPolicy:
    deadline = datetime(2000, 1, 1, BOUNDARY.hour, BOUNDARY.minute) + after
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"{deadline.minute} {deadline.hour} * * *", lower_bound_delta=after, timezone=TIMEZONE
    )
