"""Service levels over the last 30 days: days on time, transformations that succeeded, no critical discrepancy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from gtm_assets import clock
from gtm_assets.checks.freshness import Deadline
from gtm_assets.finding import Finding
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.runs import INTRADAY_TAG

ASSET_KEY = dg.AssetKey(["operations", "service_levels"])
CHECK = dg.AssetCheckKey(ASSET_KEY, "service_level_met")
GROUP = "operations"
DAYS = 30
DAYS_ON_TIME = 0.995
TRANSFORMATIONS = 0.99
PAGE = 1_000
"""Records of the event log that are read at a time."""


@dataclass(frozen=True)
class Days:
    """Which days were judged, and which of them missed their deadline, each with what came too late."""

    judged: Sequence[str]
    missed: Mapping[str, str]

    @property
    def share(self) -> float | None:
        """Share on time; None where no day was judged."""
        return 1 - len(self.missed) / len(self.judged) if self.judged else None


def days_on_time(
    calendar: Calendar,
    now: datetime,
    landed_at: Mapping[str, Mapping[str, datetime]],
    published_at: Sequence[tuple[datetime, datetime]],
    landing: Deadline,
    publishing: Deadline,
) -> Days:
    """Judge the last 30 days whose deadlines are over.

    ``landed_at`` holds, by raw table, when each partition landed first. ``published_at`` are pairs of when a file
    was published and the instant up to which it knows. Days that were over before the platform landed anything
    are not judged: nobody promised them. Nor are those of a calendar that ends, on which nothing is late.
    """
    if calendar.last is not None:
        return Days((), {})
    began = min((at for table in landed_at.values() for at in table.values()), default=None)
    judged: list[str] = []
    missed: dict[str, str] = {}
    for key in calendar.closed(now):
        end = calendar.window(key).end
        if now - end > timedelta(DAYS) or began is None or end < began:
            continue
        landing_due = end + landing.due + landing.missed
        publishing_due = end + publishing.due + publishing.missed
        if now < publishing_due:
            continue
        judged.append(key)
        late = sorted(t for t, at in landed_at.items() if key not in at or at[key] > landing_due)
        if late:
            missed[key] = (
                f"{', '.join(late[:3])}{f' and {len(late) - 3} more' if len(late) > 3 else ''} landed late"
            )
        elif not any(at <= publishing_due and as_of >= end for at, as_of in published_at):
            missed[key] = "published late"
    return Days(judged, missed)


def judge(days: Days, succeeded: int, transformations: int, discrepancies: Sequence[str]) -> Finding:
    """Whether the service levels are met."""
    broken = []
    if days.share is not None and days.share < DAYS_ON_TIME:
        told = "; ".join(f"{key}: {why}" for key, why in list(days.missed.items())[-3:])
        broken.append(
            f"{days.share:.1%} of {len(days.judged)} days were on time, {DAYS_ON_TIME:.1%} were promised ({told})"
        )
    share = succeeded / transformations if transformations else None
    if share is not None and share < TRANSFORMATIONS:
        broken.append(
            f"{share:.1%} of {transformations:,} transformations succeeded, {TRANSFORMATIONS:.0%} were promised"
        )
    if discrepancies:
        broken.append(f"critical discrepancies stand: {', '.join(discrepancies[:3])}")
    met = "no day was due yet" if days.share is None else f"{days.share:.1%} of {len(days.judged)} days on time"
    return Finding(
        passed=not broken,
        sentence=". ".join(text[0].upper() + text[1:] for text in broken) + "." if broken else f"Met: {met}.",
        figures={
            "days_judged": len(days.judged),
            "days_on_time_share": days.share if days.share is not None else "none due",
            "transformations": transformations,
            "transformations_succeeded_share": share if share is not None else "none ran",
            "critical_discrepancies": len(discrepancies),
        },
        sample=[{"day": key, "missed because": why} for key, why in days.missed.items()],
    )


def service_levels_asset(
    calendar: Calendar,
    raw: Mapping[dg.AssetKey, str],
    published: dg.AssetKey,
    discrepancy_checks: Iterable[dg.AssetCheckKey],
    jobs: Iterable[str],
    landing: Deadline,
    publishing: Deadline,
) -> dg.AssetsDefinition:
    """The asset whose metadata are the measured service levels.

    ``raw`` names the table of each raw asset; ``jobs`` are those that transform.
    """
    discrepancy_checks, jobs = list(discrepancy_checks), list(jobs)

    @dg.asset(
        key=ASSET_KEY,
        deps=[published],
        group_name=GROUP,
        tags={"layer": GROUP},
        kinds={"dagster"},
        owners=["team:revops"],
        description="How the last 30 days kept what was promised: 99.5 % of days on time, 99 % of transformations "
        "successful, no critical discrepancy.",
        check_specs=[
            dg.AssetCheckSpec(CHECK.name, asset=ASSET_KEY, description="What was promised for 30 days was kept.")
        ],
    )
    def service_levels(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        now, instance = clock.now(), context.instance
        keys = [key for key in calendar.closed(now) if now - calendar.window(key).end <= timedelta(DAYS)]
        ends = {key: calendar.window(key).end for key in keys}
        landed_at = {name: _first_landings(instance, key, ends) for key, name in raw.items()}
        days = days_on_time(calendar, now, landed_at, _publications(instance, published, now), landing, publishing)
        ended = _ended_runs(instance, jobs, now)
        succeeded = sum(status == DagsterRunStatus.SUCCESS for status in ended)
        finding = judge(days, succeeded, len(ended), _standing(instance, discrepancy_checks))
        return dg.MaterializeResult(metadata=finding.metadata(), check_results=[finding.result(CHECK)])

    return service_levels


def _first_landings(
    instance: dg.DagsterInstance, key: dg.AssetKey, ends: Mapping[str, datetime]
) -> dict[str, datetime]:
    """When each partition of a raw asset was first materialized to its end and after it: ``ends``, by key."""
    first: dict[str, datetime] = {}
    if not ends:
        return first
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=list(ends))
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(wanted, limit=PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            partition, landed_at = record.partition_key, _instant(record.timestamp)
            if partition is None or landed_at < ends[partition]:
                continue
            if _read_until(record, ends[partition]) >= ends[partition]:
                first.setdefault(partition, landed_at)
        cursor, more = page.cursor, page.has_more
    return first


def _read_until(record: dg.EventLogRecord, end: datetime) -> datetime:
    """Up to when a landing read its partition; the partition's ``end`` where the record does not say."""
    materialization = record.asset_materialization
    until = materialization.metadata.get("read_until") if materialization else None
    return _instant(until.value) if isinstance(until, dg.TimestampMetadataValue) else end


def _publications(
    instance: dg.DagsterInstance, published: dg.AssetKey, now: datetime
) -> list[tuple[datetime, datetime]]:
    """When the published file was replaced in the last 30 days, and up to when it then knew."""
    since = (now - timedelta(DAYS + 1)).timestamp()
    wanted = dg.AssetRecordsFilter(asset_key=published, after_timestamp=since)
    found = []
    # Refreshed every quarter of an hour, the file is replaced 3,000 times in these days.
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(wanted, limit=PAGE, cursor=cursor)
        for record in page.records:
            materialization = record.asset_materialization
            as_of = materialization.metadata.get("as_of") if materialization else None
            if isinstance(as_of, dg.TimestampMetadataValue):
                found.append((_instant(record.timestamp), _instant(as_of.value)))
        cursor, more = page.cursor, page.has_more
    return found


def _instant(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _ended_runs(instance: dg.DagsterInstance, jobs: Sequence[str], now: datetime) -> list[DagsterRunStatus]:
    """How the transformations of the last 30 days ended, refreshes within the day left out."""
    ended = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]
    since = now - timedelta(DAYS)
    return [
        record.dagster_run.status
        for job in jobs
        for record in instance.get_run_records(RunsFilter(job_name=job, statuses=ended, created_after=since))
        if INTRADAY_TAG not in record.dagster_run.tags
    ]


def _standing(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> list[str]:
    """The checks whose newest result is an error."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    return [
        f"{key.asset_key.to_user_string()} {key.name}"
        for key, record in records.items()
        if isinstance(record.evaluation, dg.AssetCheckEvaluation)
        and not record.evaluation.passed
        and record.evaluation.severity == dg.AssetCheckSeverity.ERROR
    ]
