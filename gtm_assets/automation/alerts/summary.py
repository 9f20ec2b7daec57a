"""The daily summary: what the last day was like and where the business stands, in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster import AssetRecordsFilter, DagsterRunStatus, RunsFilter

from gtm_assets.automation.alerts.channels import Message
from gtm_assets.automation.alerts.incidents import Incident
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.publishing.publish import verdicts
from gtm_assets.reporting.names import FIRST_PAGE, SENTENCE
from gtm_assets.runtime.instance import ui_address
from gtm_assets.settings import Settings

DAY = timedelta(days=1)
_READ_AT_A_TIME = 1000
_NAMED_INCIDENTS = 10


def daily_summary(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    incidents: Sequence[Incident],
    settings: Settings,
    now: datetime,
    day: date,
) -> Message:
    """Runs and landed rows of the last 24 hours, and how publication, checks and open incidents stand.

    ``day`` is the local one whose summary it is.
    """
    graph = repository.asset_graph
    runs = Counter(run.dagster_run.status for run in _runs(instance, now - DAY))
    going_on = sum(runs.values()) - sum(runs[s] for s in _ENDED)
    raw = [key for key in graph.executable_asset_keys if graph.get(key).tags.get("layer") == "raw"]
    rows = sum(_rows_landed(instance, key, now - DAY) for key in raw)
    published_at = last_materialized(instance, PUBLISHED)
    registry = CheckRegistry.of(graph.get_check_spec(key) for key in graph.asset_check_keys)
    checks = Counter(verdict.outcome for verdict in verdicts(instance, registry))
    lines = [
        f"Runs in 24 hours: {runs[DagsterRunStatus.SUCCESS]:,} succeeded, "
        f"{runs[DagsterRunStatus.FAILURE]:,} failed, {runs[DagsterRunStatus.CANCELED]:,} cancelled, "
        f"{going_on:,} going on.",
        f"Rows landed in 24 hours: {rows:,} new versions.",
        *headline(settings),
        f"Published: {f'{published_at:%Y-%m-%d %H:%M} UTC' if published_at else 'nothing yet'}.",
        f"Checks: {checks['passed']:,} passed, {checks['warned']:,} warned, {checks['failed']:,} failed, "
        f"{checks['missing']:,} not run since their table was built.",
        f"Open incidents: {len(incidents):,}.",
        *(f"- [{i.severity}] {i.title}, since {i.since:%Y-%m-%d %H:%M} UTC" for i in incidents[:_NAMED_INCIDENTS]),
        f"Look: {ui_address(settings)}/runs",
    ]
    return Message(f"Daily summary, {day}", "\n".join(lines), "summary")


def headline(settings: Settings) -> list[str]:
    """The headline numbers of what is published, and where the report is; nothing where there is no report."""
    try:
        told = (settings.report_path / SENTENCE).read_text()
    except FileNotFoundError:
        return []
    address = (settings.report_path / FIRST_PAGE).absolute().as_uri()
    return [*([f"Headline: {told}"] if told else []), f"Report: {address}"]


_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def _runs(instance: dg.DagsterInstance, after: datetime) -> Sequence[dg.RunRecord]:
    return instance.get_run_records(RunsFilter(created_after=after))


def _rows_landed(instance: dg.DagsterInstance, key: dg.AssetKey, after: datetime) -> int:
    rows, cursor = 0, None
    while True:
        found = instance.fetch_materializations(
            AssetRecordsFilter(key, after_timestamp=after.timestamp()), limit=_READ_AT_A_TIME, cursor=cursor
        )
        for record in found.records:
            made = record.asset_materialization
            count = made.metadata.get("dagster/partition_row_count") if made else None
            if count is not None and isinstance(count.value, int):
                rows += count.value
        if not found.has_more:
            return rows
        cursor = found.cursor


def last_materialized(instance: dg.DagsterInstance, key: dg.AssetKey) -> datetime | None:
    """When an asset was last built, UTC."""
    for record in instance.get_asset_records([key]):
        if record.asset_entry.last_materialization_record:
            return datetime.fromtimestamp(record.asset_entry.last_materialization_record.timestamp, UTC)
    return None
