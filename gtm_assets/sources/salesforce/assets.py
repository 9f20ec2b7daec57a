"""The raw assets: one per Salesforce object, each landed by one op, one daily partition at a time.

In landing mode they are external assets: another loader fills them.
"""

import warnings
from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from gtm_assets.automation.retries import retried
from gtm_assets.checks import raw as raw_checks
from gtm_assets.checks import totals as totals_check
from gtm_assets.checks.drift import tables_in_scope
from gtm_assets.checks.finding import Finding
from gtm_assets.lake import Lake, Landing
from gtm_assets.partitions import BATCH_SIZE, Calendar, Window
from gtm_assets.settings import HARD_DELETE_LIMIT, RETRY_SECONDS
from gtm_assets.sources.errors import BudgetReached, CredentialsRefused, NotReadable, SourceUnavailable
from gtm_assets.sources.raw_table import Deletes, RawTable
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.org import SalesforceOrg

OWNER = "team:revops"
GROUP = "salesforce_raw"
SCOPE_CHECK = "tables_in_scope_are_landed"
READABLE_CHECK = "table_is_readable"


class ExtractConfig(dg.Config):
    """How to extract."""

    full: bool = False
    """Take all records as they are at the end of the partition, not only those that changed in it."""


def asset_key(table: RawTable) -> dg.AssetKey:
    """The key of a raw table: its source, then its name. The dbt sources join on it."""
    return dg.AssetKey([table.source, table.name])


def raw_asset(
    table: SalesforceObject,
    calendar: Calendar,
    read: Collection[str],
    limits: raw_checks.Limits,
    hard_delete_limit: float = HARD_DELETE_LIMIT,
    retry_seconds: float = RETRY_SECONDS,
) -> dg.AssetsDefinition:
    """The raw table of one Salesforce object. A range of partitions is landed by one run of at most 31.

    ``read`` are the columns that models read, ``limits`` those of its checks. ``hard_delete_limit`` is the share
    of the live records that a full extraction may lack, ``retry_seconds`` the first pause before another try.
    """
    key = asset_key(table)
    with warnings.catch_warnings():
        # Backfill policies are the documented way to land a range in one run; Dagster still calls them beta.
        warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
        as_asset = dg.asset(
            key=key,
            partitions_def=calendar.definition(),
            backfill_policy=dg.BackfillPolicy.multi_run(BATCH_SIZE),
            description=table.description,
            group_name=GROUP,
            kinds={"salesforce", "parquet"},
            owners=[OWNER],
            tags={"layer": "raw", "source": table.source},
            metadata={
                "api_name": table.api_name,
                "cursor": table.cursor,
                "deletes": table.deletes.value,
                "dagster/column_schema": _schema(table),
            },
            check_specs=[
                *raw_checks.specs(key),
                dg.AssetCheckSpec(
                    READABLE_CHECK,
                    asset=key,
                    description="The source lets us read the table. It stops nothing: the table lands empty.",
                ),
            ],
        )

    @as_asset
    def ingest(
        context: dg.AssetExecutionContext,
        config: ExtractConfig,
        org: dg.ResourceParam[SalesforceOrg],
        lake: dg.ResourceParam[Lake],
    ) -> dg.MaterializeResult:
        refusal: NotReadable | None = None
        landings = []

        def landed(window: Window) -> Landing:
            nonlocal refusal
            known_at = org.known_at(window)
            try:
                # A refusal is of the table: the partitions that follow are not asked for.
                if refusal is None and config.full:
                    return lake.land_snapshot(
                        table, window, org.snapshot(table, window), known_at, hard_delete_limit
                    )
                if refusal is None:
                    deletions = org.deletions(table, window) if table.deletes is Deletes.SNAPSHOT else {}
                    return lake.land(table, window, org.changes(table, window), known_at, deletions)
            except NotReadable as error:
                refusal = error
            return lake.land_unreadable(table, window, refusal.reason, known_at)

        with retried(context, retry_seconds):
            for partition in context.partition_keys:
                landing = landed(calendar.window(partition))
                landings.append(landing)
                context.add_asset_metadata(landing_metadata(landing), partition_key=partition)
                if landing.problems:
                    context.log.warning(landing.describe_problems())
            described = None if refusal else org.described(table)
        found = [
            *raw_checks.findings(lake, table, landings, read, limits, calendar.first.isoformat(), described),
            (READABLE_CHECK, readable(table, refusal)),
        ]
        return dg.MaterializeResult(
            check_results=[finding.result(dg.AssetCheckKey(key, name)) for name, finding in found]
        )

    return ingest


def totals_checks(calendar: Calendar) -> dg.AssetChecksDefinition:
    """On each raw table whether the lake holds as much as Salesforce counts, for the newest landed partition."""
    tables = {dg.AssetCheckKey(asset_key(table), totals_check.CHECK): table for table in OBJECTS}
    specs = [
        dg.AssetCheckSpec(key.name, asset=key.asset_key, description=totals_check.DESCRIPTION) for key in tables
    ]

    @dg.multi_asset_check(name="totals", specs=specs, can_subset=True)
    def check(
        context: dg.AssetCheckExecutionContext,
        org: dg.ResourceParam[SalesforceOrg],
        lake: dg.ResourceParam[Lake],
    ) -> Iterator[dg.AssetCheckResult]:
        for key, table in tables.items():
            if key in context.selected_asset_check_keys:
                yield _equals(org, lake, table, calendar).result(key)

    return check


def scope_check(patterns: Sequence[str]) -> dg.AssetChecksDefinition:
    """On the first raw table, for all: whether every object in scope is landed. It only tells."""

    @dg.asset_check(
        asset=asset_key(OBJECTS[0]),
        name=SCOPE_CHECK,
        description="Each object of the organisation that fits GTM_SALESFORCE_SCOPE is in the catalogue.",
    )
    def check(org: dg.ResourceParam[SalesforceOrg]) -> dg.AssetCheckResult:
        try:
            finding = tables_in_scope(org.objects(), [table.api_name for table in OBJECTS], patterns)
        except (SourceUnavailable, CredentialsRefused, BudgetReached) as error:
            finding = Finding(False, f"The objects can't be listed: {error}.", dg.AssetCheckSeverity.WARN)
        return finding.result(dg.AssetCheckKey(asset_key(OBJECTS[0]), SCOPE_CHECK))

    return check


def _equals(org: SalesforceOrg, lake: Lake, table: SalesforceObject, calendar: Calendar) -> Finding:
    partitions = lake.partitions(table)
    if not partitions or partitions[-1] in lake.owed(table):
        return totals_check.not_compared(table, "the newest partition has not landed", is_known=True)
    try:
        return totals_check.equals_source(lake, table, org.totals(table, calendar.window(partitions[-1])))
    except NotReadable as error:
        return totals_check.not_compared(table, error.reason, is_known=True)
    except (SourceUnavailable, CredentialsRefused, BudgetReached) as error:
        return totals_check.not_compared(table, str(error))


def landed_asset(table: SalesforceObject) -> dg.AssetSpec:
    """The raw table of one Salesforce object that another loader fills: nothing here makes it, it is observed."""
    return dg.AssetSpec(
        asset_key(table),
        description=table.description,
        group_name=GROUP,
        kinds={"salesforce", "fivetran"},
        owners=[OWNER],
        tags={"layer": "raw", "source": table.source},
        metadata={"api_name": table.api_name, "dagster/column_schema": _schema(table)},
    )


def landing_metadata(landing: Landing) -> dict[str, dg.MetadataValue]:
    """What the UI shows of one landed partition."""
    metadata = {
        "dagster/partition_row_count": dg.MetadataValue.int(landing.added),
        "rows_received": dg.MetadataValue.int(landing.received),
        "quarantined": dg.MetadataValue.int(landing.quarantined),
        "bytes": dg.MetadataValue.int(landing.bytes),
        "batch_id": dg.MetadataValue.text(landing.batch_id or "none: all versions were landed before"),
        "dagster/column_schema": dg.MetadataValue.table_schema(
            dg.TableSchema([dg.TableColumn(name, type_) for name, type_ in landing.columns.items()])
        ),
    }
    if landing.hard_deleted:
        metadata["hard_deleted"] = dg.MetadataValue.int(landing.hard_deleted)
    if landing.newest_cursor:
        metadata["newest_cursor"] = dg.MetadataValue.timestamp(landing.newest_cursor)
    if landing.unknown_columns:
        metadata["columns_not_in_catalogue"] = dg.MetadataValue.text(", ".join(landing.unknown_columns))
    if landing.missing_columns:
        metadata["columns_not_received"] = dg.MetadataValue.text(", ".join(landing.missing_columns))
    if landing.problems:
        metadata["problems"] = dg.MetadataValue.md(landing.describe_problems())
    return metadata


def readable(table: RawTable, refusal: NotReadable | None) -> Finding:
    """Whether we may read a table. The figure ``reason`` is the source's own, empty where we may."""
    reason = refusal.reason if refusal else ""
    if refusal and refusal.is_gone:
        return Finding(
            passed=False,
            sentence=(
                f"{table.qualified_name} is gone: {reason.rstrip('.')}. What was last known stays. Give the "
                f"platform's user the right to read {table.api_name}, or take the table out of the catalogue."
            ),
            figures={"reason": reason},
        )
    return Finding(
        passed=not reason,
        sentence=(
            f"{table.qualified_name} can't be read: {reason.rstrip('.')}. It landed empty. Give the platform's "
            f"user the right to read {table.api_name} and its fields; the partitions that landed empty are then "
            "landed again by themselves, or at once by: gtm run"
            if reason
            else "The source lets us read it."
        ),
        figures={"reason": reason},
    )


def _schema(table: RawTable) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(column.name, column.type.sql, column.description) for column in table.columns]
    )
