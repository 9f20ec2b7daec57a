"""The raw assets: one per Salesforce object, each landed by one op, one daily partition at a time.

In external mode they are external assets: another loader fills them.
"""

import fnmatch
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import dagster as dg

from gtm_assets.catalog.raw_table import Deletes, Described, RawTable
from gtm_assets.checks.raw import VANISHED, has_not_vanished
from gtm_assets.errors import BudgetReached, CredentialsRefused, NotReadable, SourceUnavailable
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.lake.summary import LandingSummary
from gtm_assets.partitions import Calendar, Window
from gtm_assets.sources.raw_asset import (
    OWNER,
    READABLE_CHECK,
    Rules,
    TableExtraction,
    Task,
    asset_key,
    column_schema,
    group,
)
from gtm_assets.sources.raw_asset import raw_asset as made_raw_asset
from gtm_assets.sources.salesforce import totals as totals_check
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.org import SalesforceOrg

SCOPE_CHECK = "tables_in_scope_are_landed"


class SalesforceExtraction(TableExtraction):
    """How one op lands a Salesforce object."""

    resource = "org"

    def __init__(self, task: Task, org: SalesforceOrg) -> None:
        """The extraction of the task's table from ``org``."""
        assert isinstance(task.table, SalesforceObject)
        self._task, self._table, self._org = task, task.table, org
        self._refused: NotReadable | None = None

    @classmethod
    def check_specs(cls, table: RawTable) -> list[dg.AssetCheckSpec]:
        """Whether the table can be read, and whether one that had records has not vanished."""
        return [
            dg.AssetCheckSpec(
                READABLE_CHECK,
                asset=asset_key(table),
                description="The source lets us read the table. It stops nothing: the table lands empty.",
            ),
            dg.AssetCheckSpec(
                VANISHED,
                asset=asset_key(table),
                description="A table that had records can still be read, or its owner has said: "
                "gtm source forget.",
                blocking=True,
            ),
        ]

    def land(self, window: Window) -> Landing:
        """Land what changed in the window or, of a full extraction, all records; nothing where we may not read."""
        known_at = self._org.known_at(window)
        if self._refused is None:
            try:
                return self._land_extracted(window, known_at)
            except NotReadable as error:
                # Salesforce refuses the table as a whole, so later partitions are not asked for.
                self._refused, self.refusal = error, error.reason
        return self._task.lake.land_unreadable(self._table, window, self._refused.reason, known_at)

    def _land_extracted(self, window: Window, known_at: datetime) -> Landing:
        task, table, org = self._task, self._table, self._org
        if task.is_full:
            pages = org.snapshot(table, window)
            return task.lake.land_snapshot(table, window, pages, known_at, task.rules.hard_delete_limit)
        deletions = org.deletions(table, window) if table.deletes is Deletes.SNAPSHOT else {}
        return task.lake.land(table, window, org.changes(table, window), known_at, deletions)

    def describe(self) -> Described | None:
        """What Salesforce says of the object's fields; None where we may not read it."""
        return None if self._refused else self._org.described(self._table)

    def findings(self, summary: LandingSummary) -> dict[str, Finding]:
        """Whether the table can be read, and whether it has not vanished."""
        return {
            READABLE_CHECK: readable(self._table, self._refused),
            VANISHED: has_not_vanished(summary.access),
        }


def raw_asset(table: RawTable, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
    """The raw table of one Salesforce object. ``read`` are the columns that models read."""
    return made_raw_asset(table, SalesforceExtraction, read, rules)


def totals_keys() -> list[dg.AssetCheckKey]:
    """The keys of the checks that compare the lake with what Salesforce counts."""
    return [dg.AssetCheckKey(asset_key(table), totals_check.CHECK) for table in OBJECTS]


def totals_checks(calendar: Calendar) -> dg.AssetChecksDefinition:
    """On each raw table whether the lake holds as much as Salesforce counts, for the newest landed partition."""
    tables = dict(zip(totals_keys(), OBJECTS, strict=True))
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


def tables_in_scope(objects: Collection[str], catalogued: Collection[str], patterns: Sequence[str]) -> Finding:
    """Which of the source's tables fit a pattern (as in file names) and are not in the catalogue."""
    new = sorted(
        name
        for name in set(objects) - set(catalogued)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    )
    return Finding(
        passed=not new,
        sentence=(
            f"In scope and not landed: {', '.join(new)}. Add them to the catalogue, or leave them out of "
            f"GTM_SALESFORCE_SCOPE ({', '.join(patterns)})."
            if new
            else f"All tables in scope ({', '.join(patterns)}) are landed."
        ),
        severity=dg.AssetCheckSeverity.WARN,
        figures={"tables_not_landed": new, "tables_listed": len(objects)},
    )


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


def external_asset(table: RawTable) -> dg.AssetSpec:
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
