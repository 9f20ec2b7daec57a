"""What the raw assets of all sources have in common: one per table and op, landed one daily partition at a time.

A source's own module says how a partition is landed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from gtm_assets import clock
from gtm_assets.catalog.raw_table import Described, RawTable
from gtm_assets.checks import raw as raw_checks
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import BATCH_SIZE, Calendar, Window
from gtm_assets.runtime.retries import TRIES, retried
from gtm_assets.settings import HARD_DELETE_LIMIT, RETRY_SECONDS

OWNER = "team:revops"
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


def as_raw_asset(
    table: RawTable, calendar: Calendar, check_specs: Collection[dg.AssetCheckSpec] = ()
) -> Callable[..., dg.AssetsDefinition]:
    """The decorator that makes a raw table's asset. A range of partitions is landed by one run of at most 31.

    ``check_specs`` are checks of the source's own, beside those of all raw tables.
    """
    key = asset_key(table)
    with warnings.catch_warnings():
        # Backfill policies are the documented way to land a range in one run; Dagster still calls them beta.
        warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
        return dg.asset(
            key=key,
            partitions_def=calendar.definition(),
            backfill_policy=dg.BackfillPolicy.multi_run(BATCH_SIZE),
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
            check_specs=[*raw_checks.specs(key), *check_specs],
        )


def land_partitions(
    context: dg.AssetExecutionContext,
    lake: Lake,
    table: RawTable,
    read: Collection[str],
    rules: Rules,
    landed: Callable[[Window], Landing],
    described: Callable[[], Described | None] = lambda: None,
) -> Iterator[tuple[str, Finding]]:
    """Land the run's partitions by ``landed``, given each one's window; then the findings of all tables' checks.

    The window of a partition that is still open ends with the minute that the run's tags name, else with the last.

    ``read`` are the columns that models read; ``described`` gives what the source says of the table.
    """
    landings: list[Landing] = []
    now = until(context.run.tags) or clock.now()
    try:
        with retried(context, rules.retry_seconds):
            for partition in context.partition_keys:
                landing = landed(rules.calendar.window(partition, now))
                landings.append(landing)
                is_last = partition == context.partition_keys[-1]
                context.add_asset_metadata(landing_metadata(landing, is_last), partition_key=partition)
                if landing.problems or landing.rounded:
                    context.log.warning(landing.describe_problems())
                if landing.repaired:
                    what = f"{table.qualified_name} {partition}: {landing.describe_repaired()} texts"
                    context.log.warning(f"{what} held characters that are none (now U+FFFD, or left out).")
            said = described()
    except Exception as error:
        is_tried_again = isinstance(error, dg.RetryRequested) and context.retry_number < TRIES - 1
        # What has landed is told here: no run will land it again.
        for landing in [] if is_tried_again else landings:
            metadata = landing_metadata(landing, is_last=False)
            context.log_event(
                dg.AssetMaterialization(asset_key(table), metadata=metadata, partition=landing.partition)
            )
        raise
    first = rules.calendar.first.isoformat()
    return raw_checks.findings(lake, table, landings, read, rules.limits, first, said)


def result_of(table: RawTable, findings: Collection[tuple[str, Finding]]) -> dg.MaterializeResult:
    """The result of an op that has landed a table: its checks."""
    key = asset_key(table)
    return dg.MaterializeResult(
        check_results=[finding.result(dg.AssetCheckKey(key, name)) for name, finding in findings]
    )


def landing_metadata(landing: Landing, is_last: bool = True) -> dict[str, dg.MetadataValue]:
    """What the UI shows of one landed partition: its columns where it is its run's last or they are odd."""
    metadata = {
        "dagster/partition_row_count": dg.MetadataValue.int(landing.added),
        "rows_received": dg.MetadataValue.int(landing.received),
        "quarantined": dg.MetadataValue.int(landing.quarantined),
        "bytes": dg.MetadataValue.int(landing.bytes),
        "read_until": dg.MetadataValue.timestamp(landing.until),
        "batch_id": dg.MetadataValue.text(landing.batch_id or "none: all versions were landed before"),
    }
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
    """The columns as the UI shows them."""
    return dg.TableSchema(
        [dg.TableColumn(column.name, column.type.sql, column.description) for column in table.columns]
    )
