"""The raw assets: one per Salesforce object, each landed by one op, one daily partition at a time.

In external mode they are external assets: another loader fills them.
"""

from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from gtm_assets.catalog.raw_table import Deletes, Described, RawTable
from gtm_assets.checks import totals as totals_check
from gtm_assets.checks.drift import tables_in_scope
from gtm_assets.checks.raw import VANISHED, has_not_vanished
from gtm_assets.errors import BudgetReached, CredentialsRefused, NotReadable, SourceUnavailable
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, Window
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
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.org import SalesforceOrg

SCOPE_CHECK = "tables_in_scope_are_landed"
READABLE_CHECK = "table_is_readable"


def raw_asset(table: SalesforceObject, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
    """The raw table of one Salesforce object. ``read`` are the columns that models read."""
    may_be_read = dg.AssetCheckSpec(
        READABLE_CHECK,
        asset=asset_key(table),
        description="The source lets us read the table. It stops nothing: the table lands empty.",
    )

    stays = dg.AssetCheckSpec(
        VANISHED,
        asset=asset_key(table),
        description="A table that had records can still be read, or its owner has said: gtm source forget.",
        blocking=True,
    )

    @as_raw_asset(table, rules.calendar, [may_be_read, stays])
    def ingest(
        context: dg.AssetExecutionContext,
        config: ExtractConfig,
        org: dg.ResourceParam[SalesforceOrg],
        lake: dg.ResourceParam[Lake],
    ) -> dg.MaterializeResult:
        refusal: NotReadable | None = None

        def landed(window: Window) -> Landing:
            nonlocal refusal
            known_at = org.known_at(window)
            try:
                # A refusal is of the table: the partitions that follow are not asked for.
                if refusal is None and config.full:
                    pages = org.snapshot(table, window)
                    return lake.land_snapshot(table, window, pages, known_at, rules.hard_delete_limit)
                if refusal is None:
                    deletions = org.deletions(table, window) if table.deletes is Deletes.SNAPSHOT else {}
                    return lake.land(table, window, org.changes(table, window), known_at, deletions)
            except NotReadable as error:
                refusal = error
            return lake.land_unreadable(table, window, refusal.reason, known_at)

        def described() -> Described | None:
            return None if refusal else org.described(table)

        found = land_partitions(context, lake, table, read, rules, landed, described)
        stays = has_not_vanished(lake, table, refusal.reason if refusal else None)
        return result_of(table, [*found, (READABLE_CHECK, readable(table, refusal)), (VANISHED, stays)])

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
    if not partitions or partitions[-1] in lake.unreadable_partitions(table):
        return totals_check.not_compared(table, "the newest partition has not landed", is_known=True)
    window = calendar.window(partitions[-1], lake.read_until(table))
    try:
        return totals_check.equals_source(lake, table, org.totals(table, window), window.end)
    except NotReadable as error:
        return totals_check.not_compared(table, error.reason, is_known=True)
    except (SourceUnavailable, CredentialsRefused, BudgetReached) as error:
        return totals_check.not_compared(table, str(error))


def external_asset(table: SalesforceObject) -> dg.AssetSpec:
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
    if refusal is None:
        return Finding(True, "The source lets us read it.", figures={"reason": ""})
    name, reason = table.qualified_name, refusal.reason.rstrip(".")
    if refusal.is_gone:
        sentence = (
            f"{name} is gone: {reason}. What was last known stays. Give the platform's user the right to read "
            f"{table.api_name}, or take the table out of the catalogue."
        )
    elif refusal.is_of_the_query:
        sentence = (
            f"{name} can't be read: {reason}. It landed empty, and what was last known stays. It is not a "
            f"matter of rights: ask who administers Salesforce what has become of {table.api_name}, or take the "
            f"table out of the catalogue."
        )
    else:
        sentence = (
            f"{name} can't be read: {reason}. It landed empty. Give the platform's user the right to read "
            f"{table.api_name} and its fields; the partitions that landed empty are then landed again by "
            f"themselves, or at once by: gtm run"
        )
    return Finding(False, sentence, figures={"reason": refusal.reason})
