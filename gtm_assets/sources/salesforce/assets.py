"""The raw assets: one per Salesforce object, each landed by one op, one daily partition at a time.

In landing mode they are external assets: another loader fills them.
"""

from collections.abc import Collection

import dagster as dg

from gtm_assets.checks.finding import Finding
from gtm_assets.lake import Lake, Landing
from gtm_assets.sources.errors import NotReadable
from gtm_assets.sources.raw_asset import (
    OWNER,
    ExtractConfig,
    Rules,
    as_raw_asset,
    asset_key,
    column_schema,
    group,
    land_partitions,
    result_of,
)
from gtm_assets.sources.raw_table import RawTable
from gtm_assets.sources.salesforce.catalog import SalesforceObject
from gtm_assets.sources.salesforce.org import SalesforceOrg

READABLE_CHECK = "table_is_readable"


def raw_asset(table: SalesforceObject, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
    """The raw table of one Salesforce object. ``read`` are the columns that models read."""
    may_be_read = dg.AssetCheckSpec(
        READABLE_CHECK,
        asset=asset_key(table),
        description="The source lets us read the table. It stops nothing: the table lands empty.",
    )

    @as_raw_asset(table, rules.calendar, [may_be_read])
    def ingest(
        context: dg.AssetExecutionContext,
        config: ExtractConfig,
        org: dg.ResourceParam[SalesforceOrg],
        lake: dg.ResourceParam[Lake],
    ) -> dg.MaterializeResult:
        refusal: NotReadable | None = None

        def landed(partition: str) -> Landing:
            nonlocal refusal
            window = rules.calendar.window(partition)
            known_at = org.known_at(window)
            try:
                # A refusal is of the table: the partitions that follow are not asked for.
                if refusal is None and config.full:
                    pages = org.snapshot(table, window)
                    return lake.land_snapshot(table, window, pages, known_at, rules.hard_delete_limit)
                if refusal is None:
                    return lake.land(table, window, org.changes(table, window), known_at)
            except NotReadable as error:
                refusal = error
            return lake.land_unreadable(table, window, refusal.reason, known_at)

        found = land_partitions(context, lake, table, read, rules, landed)
        return result_of(table, [*found, (READABLE_CHECK, readable(table, refusal))])

    return ingest


def landed_asset(table: SalesforceObject) -> dg.AssetSpec:
    """The raw table of one Salesforce object that another loader fills: nothing here makes it, it is observed."""
    return dg.AssetSpec(
        asset_key(table),
        description=table.description,
        group_name=group(table),
        kinds={"salesforce", "fivetran"},
        owners=[OWNER],
        tags={"layer": "raw", "source": table.source},
        metadata={"api_name": table.api_name, "dagster/column_schema": column_schema(table)},
    )


def readable(table: RawTable, refusal: NotReadable | None) -> Finding:
    """Whether we may read a table. The figure ``reason`` is the source's own, empty where we may."""
    reason = refusal.reason if refusal else ""
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
