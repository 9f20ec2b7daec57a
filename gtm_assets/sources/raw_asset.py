"""What the raw assets of all sources have in common: one per table and op, landed one daily partition at a time.

The way of the data goes down: a source's :class:`TableExtraction` lands a partition; the lake summarizes what
landed; the checks look at the summary alone.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import dagster as dg

from gtm_assets import clock
from gtm_assets.catalog.raw_table import Described, RawTable
from gtm_assets.checks import raw as raw_checks
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.lake.summary import LandingSummary, summarize
from gtm_assets.partitions import BATCH_SIZE, Calendar, Window
from gtm_assets.runtime.retries import TRIES, retried
from gtm_assets.settings import HARD_DELETE_LIMIT, RETRY_SECONDS

OWNER = "team:revops"
READABLE_CHECK = "table_is_readable"
"""Of a raw table whose source may refuse it: the figure ``reason`` says why it does."""
UNTIL_TAG = "gtm/until"
"""Of a run that lands the partition that is still open: up to when, the same for all tables."""


class ExtractConfig(dg.Config):
    """How to extract."""

    full: bool = False
    """Take all records as they are at the end of the partition, not only those that changed in it."""


@dataclass(frozen=True)
class Rules:
    """What the settings say of every raw table."""

    calendar: Calendar
    limits: raw_checks.Limits
    """Those of its checks."""
    hard_delete_limit: float = HARD_DELETE_LIMIT
    """Share of the live records that a full extraction may lack."""
    retry_seconds: float = RETRY_SECONDS
    """First pause before another try."""


def asset_key(table: RawTable) -> dg.AssetKey:
    """The key of a raw table: its source, then its name. The dbt sources join on it."""
    return dg.AssetKey([table.source, table.name])


def until(tags: Mapping[str, str]) -> datetime | None:
    """Up to when a run lands the partition that is still open, by its tags; None where they don't say."""
    return datetime.fromisoformat(tags[UNTIL_TAG]) if UNTIL_TAG in tags else None


def group(table: RawTable) -> str:
    """The group of a raw table's asset."""
    return f"{table.source}_raw"


@dataclass(frozen=True)
class Task:
    """What one op is to land, and with what."""

    table: RawTable
    lake: Lake
    rules: Rules
    is_full: bool
    """Whether all records are taken as they are at the end of a partition."""
    context: dg.AssetExecutionContext


class TableExtraction(ABC):
    """How one op extracts a table of a source and lands it. Each source has a class of its own."""

    resource: ClassVar[str]
    """Key of the Dagster resource that is the source."""
    refusal: str | None = None
    """Why the source does not let us read the table; None where it does, as far as it was asked."""

    @abstractmethod
    def __init__(self, task: Task, source: Any) -> None:
        """``source`` is the resource of that key."""

    @classmethod
    def check_specs(cls, table: RawTable) -> list[dg.AssetCheckSpec]:
        """The source's own checks of a table, beside those of all raw tables."""
        return []

    @abstractmethod
    def land(self, window: Window) -> Landing:
        """Extract one partition and land it."""

    def describe(self) -> Described | None:
        """What the source says of the table's fields; None where it says nothing."""
        return None

    def findings(self, summary: LandingSummary) -> dict[str, Finding]:
        """The findings of the source's own checks, by the check's name."""
        return {}


class LandingRun:
    """What one op does: it lands its partitions one by one, and then checks what has landed.

    The window of a partition that is still open ends with the minute that the run's tags name, else with the last.
    """

    def __init__(self, task: Task, extraction: TableExtraction, read: Collection[str]) -> None:
        """``read`` are the columns of the table that models read."""
        self._task, self._extraction, self._read = task, extraction, read
        self._now = until(task.context.run.tags) or clock.now()
        self._partitions = task.context.partition_keys
        self._landings: list[Landing] = []
        self._described: Described | None = None

    def land_all(self) -> None:
        """Land the run's partitions, oldest first, and ask the source to describe the table.

        An error that may pass is tried again. Where none comes after, what has landed is recorded first: no later
        run will land it again.
        """
        context = self._task.context
        try:
            with retried(context, self._task.rules.retry_seconds):
                for partition in self._partitions:
                    self.land(partition)
                self.describe()
        except Exception as error:
            is_tried_again = isinstance(error, dg.RetryRequested) and context.retry_number < TRIES - 1
            if not is_tried_again:
                self._record_landings()
            raise

    def land(self, partition: str) -> Landing:
        """Land one partition, and tell the run what landed and what is odd about it."""
        context, table = self._task.context, self._task.table
        landing = self._extraction.land(self._task.rules.calendar.window(partition, self._now))
        self._landings.append(landing)
        is_last = partition == self._partitions[-1]
        context.add_asset_metadata(landing_metadata(landing, is_last), partition_key=partition)
        if landing.problems or landing.rounded:
            context.log.warning(landing.describe_problems())
        if landing.repaired:
            what = f"{table.qualified_name} {partition}: {landing.describe_repaired()} texts"
            context.log.warning(f"{what} held characters that are none (now U+FFFD, or left out).")
        if landing.released:
            context.log.info(
                f"{table.qualified_name} {partition}: {landing.released:,} records left quarantine, as the whole "
                f"export no longer has them."
            )
        return landing

    def describe(self) -> None:
        """Ask the source what it says of the table's fields."""
        self._described = self._extraction.describe()

    def findings(self) -> dict[str, Finding]:
        """The findings of all checks of the table on what has landed, by the check's name."""
        first = self._task.rules.calendar.first.isoformat()
        summary = summarize(self._task.lake, self._landings, first, self._extraction.refusal)
        found = raw_checks.findings(summary, self._read, self._task.rules.limits, self._described)
        return found | self._extraction.findings(summary)

    def result(self) -> dg.MaterializeResult[Any]:
        """The op's result: its checks."""
        key = asset_key(self._task.table)
        return dg.MaterializeResult(
            check_results=[
                finding.result(dg.AssetCheckKey(key, name)) for name, finding in self.findings().items()
            ]
        )

    def _record_landings(self) -> None:
        for landing in self._landings:
            self._task.context.log_event(
                dg.AssetMaterialization(
                    asset_key(self._task.table),
                    metadata=landing_metadata(landing, is_last=False),
                    partition=landing.partition,
                )
            )


def raw_asset(
    table: RawTable, extraction: type[TableExtraction], read: Collection[str], rules: Rules
) -> dg.AssetsDefinition:
    """The asset of a raw table. A range of partitions is landed by one run of at most 31.

    ``extraction`` is how its source lands it, ``read`` are the columns that models read.
    """
    key = asset_key(table)
    with warnings.catch_warnings():
        # Backfill policies are the documented way to land a range in one run; Dagster still calls them beta.
        warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

        @dg.asset(
            key=key,
            partitions_def=rules.calendar.definition(),
            backfill_policy=dg.BackfillPolicy.multi_run(BATCH_SIZE),
            required_resource_keys={"lake", extraction.resource},
            description=table.description,
            group_name=group(table),
            kinds={table.source, "parquet"},
            owners=[OWNER],
            tags={"layer": "raw", "source": table.source},
            metadata={
                "api_name": table.api_name,
                "cursor": table.cursor,
                "deletes": table.deletes.value,
                "dagster/column_schema": column_schema(table),
            },
            check_specs=[*raw_checks.specs(key), *extraction.check_specs(table)],
        )
        def ingest(context: dg.AssetExecutionContext, config: ExtractConfig) -> dg.MaterializeResult:
            lake: Lake = context.resources.lake
            source = getattr(context.resources, extraction.resource)
            with lake.keeping(table) as kept:
                task = Task(table, kept, rules, config.full, context)
                run = LandingRun(task, extraction(task, source), read)
                run.land_all()
            return run.result()

    return ingest


def landing_metadata(landing: Landing, is_last: bool = True) -> dict[str, dg.MetadataValue]:
    """What the UI shows of one landed partition: its columns where it is its run's last or they are odd."""
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/partition_row_count": dg.MetadataValue.int(landing.added),
        "rows_received": dg.MetadataValue.int(landing.received),
        "quarantined": dg.MetadataValue.int(landing.quarantined),
        "bytes": dg.MetadataValue.int(landing.bytes),
        "read_until": dg.MetadataValue.timestamp(landing.until),
        "batch_id": dg.MetadataValue.text(landing.batch_id or "none: all versions were landed before"),
    }
    if landing.released:
        metadata["released_from_quarantine"] = dg.MetadataValue.int(landing.released)
    if landing.hard_deleted:
        metadata["hard_deleted"] = dg.MetadataValue.int(landing.hard_deleted)
    if landing.newest_cursor:
        metadata["newest_cursor"] = dg.MetadataValue.timestamp(landing.newest_cursor)
    # A backfill would store the same thousands of times.
    if is_last or landing.unknown_columns:
        metadata["dagster/column_schema"] = dg.MetadataValue.table_schema(
            dg.TableSchema([dg.TableColumn(name, type_) for name, type_ in landing.columns.items()])
        )
    if landing.unknown_columns:
        metadata["columns_not_in_catalogue"] = dg.MetadataValue.text(", ".join(landing.unknown_columns))
    if landing.missing_columns:
        metadata["columns_not_received"] = dg.MetadataValue.text(", ".join(landing.missing_columns))
    if landing.repaired:
        metadata["texts_repaired"] = dg.MetadataValue.text(landing.describe_repaired())
    if landing.problems or landing.rounded:
        metadata["problems"] = dg.MetadataValue.md(landing.describe_problems())
    return metadata


def column_schema(table: RawTable) -> dg.TableSchema:
    """The columns as the UI shows them, those of personal data with their tier as a tag."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.type.sql,
                column.description,
                tags={"pii": column.pii.value} if column.pii else {},
            )
            for column in table.columns
        ]
    )
