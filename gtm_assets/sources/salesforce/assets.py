"""The raw assets: one per Salesforce object, each landed by one op, one daily partition at a time.

In landing mode they are external assets: another loader fills them.
"""

import warnings
from collections.abc import Collection

import dagster as dg

from gtm_assets.checks import raw as raw_checks
from gtm_assets.lake import Lake, Landing
from gtm_assets.partitions import BATCH_SIZE, Calendar
from gtm_assets.sources.raw_table import RawTable
from gtm_assets.sources.salesforce.catalog import SalesforceObject
from gtm_assets.sources.salesforce.org import SalesforceOrg

OWNER = "team:revops"
GROUP = "salesforce_raw"


def asset_key(table: RawTable) -> dg.AssetKey:
    """The key of a raw table: its source, then its name. The dbt sources join on it."""
    return dg.AssetKey([table.source, table.name])


def raw_asset(
    table: SalesforceObject, calendar: Calendar, read: Collection[str], limits: raw_checks.Limits
) -> dg.AssetsDefinition:
    """The raw table of one Salesforce object. A range of partitions is landed by one run of at most 31.

    ``read`` are the columns that models read, ``limits`` those of its checks.
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
            check_specs=raw_checks.specs(key),
        )

    @as_asset
    def ingest(
        context: dg.AssetExecutionContext, org: dg.ResourceParam[SalesforceOrg], lake: dg.ResourceParam[Lake]
    ) -> dg.MaterializeResult:
        landings = []
        for partition in context.partition_keys:
            window = calendar.window(partition)
            landing = lake.land(table, window, org.changes(table, window), org.known_at(window))
            landings.append(landing)
            context.add_asset_metadata(landing_metadata(landing), partition_key=partition)
            if landing.problems:
                context.log.warning(landing.describe_problems())
        found = raw_checks.findings(lake, table, landings, read, limits, calendar.first.isoformat())
        return dg.MaterializeResult(
            check_results=[finding.result(dg.AssetCheckKey(key, name)) for name, finding in found]
        )

    return ingest


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
    if landing.newest_cursor:
        metadata["newest_cursor"] = dg.MetadataValue.timestamp(landing.newest_cursor)
    if landing.unknown_columns:
        metadata["columns_not_in_catalogue"] = dg.MetadataValue.text(", ".join(landing.unknown_columns))
    if landing.missing_columns:
        metadata["columns_not_received"] = dg.MetadataValue.text(", ".join(landing.missing_columns))
    if landing.problems:
        metadata["problems"] = dg.MetadataValue.md(landing.describe_problems())
    return metadata


def _schema(table: RawTable) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(column.name, column.type.sql, column.description) for column in table.columns]
    )
