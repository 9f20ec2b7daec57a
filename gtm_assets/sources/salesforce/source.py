"""Salesforce as a source: a live organisation, the synthetic one, or tables that another loader fills."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gtm_assets.catalog.origin import Origin
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.settings import Settings
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.source import Source

if TYPE_CHECKING:
    import dagster as dg

    from gtm_assets.checks.active_rows import RecordReconciliation
    from gtm_assets.checks.reconciliation import SourceReconciliation
    from gtm_assets.lake.store import Lake
    from gtm_assets.partitions import Calendar
    from gtm_assets.sources.raw_asset import Rules


class Salesforce(Source):
    """One organisation's objects."""

    name = "salesforce"
    description = "Salesforce records as the lake holds them: every landed version of every record."
    tables = OBJECTS
    may_refuse_tables = True

    def mode(self, settings: Settings) -> str:
        """``synthetic``, ``live`` or ``external``."""
        return settings.salesforce_source

    def is_external(self, settings: Settings) -> bool:
        """Whether another loader fills its tables."""
        return settings.is_external

    def raw_asset(self, table: RawTable, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
        """The raw table of one object."""
        from gtm_assets.sources.salesforce import assets

        return assets.raw_asset(table, read, rules)

    def external_asset(self, table: RawTable) -> dg.AssetSpec:
        """The raw table of one object that another loader fills."""
        from gtm_assets.sources.salesforce import assets

        return assets.external_asset(table)

    def resources(self, settings: Settings, calendar: Calendar) -> Mapping[str, Any]:
        """``org``: the organisation."""
        if settings.salesforce_source == "live":
            from gtm_assets.sources.salesforce.live.resource import live_org

            return {"org": live_org(settings, calendar)}
        from gtm_assets.sources.salesforce.synthetic import SyntheticOrg

        return {"org": SyntheticOrg(settings.synthetic_seed, settings.synthetic_scale)}

    def can_be_read(self, settings: Settings, lake: Lake, table: RawTable) -> bool | None:
        """Whether an object can be read: by the loader's tables, or by the newest partition."""
        if not settings.is_external:
            return super().can_be_read(settings, lake, table)
        from gtm_assets.dbt.external import examine_external

        found, _ = examine_external(settings)
        return table.name in {there.name for there in found if there.external_name is not None}

    def asset_checks(self, settings: Settings, calendar: Calendar) -> Sequence[dg.AssetChecksDefinition]:
        """Whether the lake equals the organisation, and whether all objects in scope are landed."""
        from gtm_assets.sources.salesforce import assets

        scope = [part.strip() for part in settings.salesforce_scope.split(",") if part.strip()]
        return [assets.totals_checks(calendar), assets.scope_check(scope)]

    def full_extraction_checks(self) -> Sequence[dg.AssetCheckKey]:
        """Equal to the source is what was just compared with all of it, and nothing else."""
        from gtm_assets.sources.salesforce import assets

        return assets.totals_keys()

    def reconciliations(self) -> Sequence[SourceReconciliation]:
        """The tables of core that are made of objects."""
        from gtm_assets.sources.salesforce.reconciliation import SOURCE_RECONCILIATIONS

        return SOURCE_RECONCILIATIONS

    def record_reconciliations(self) -> Sequence[RecordReconciliation]:
        """The same, record by record."""
        from gtm_assets.sources.salesforce.reconciliation import RECORD_RECONCILIATIONS

        return RECORD_RECONCILIATIONS

    def origins(self) -> Sequence[Origin]:
        """Record by record; activities by what they are, and stages by the history of their opportunity."""
        from gtm_assets.sources.salesforce.reconciliation import MORE_ORIGINS

        return [*super().origins(), *MORE_ORIGINS]

    def report_rows(self) -> Mapping[str, str]:
        """The steps of the funnel."""
        from gtm_assets.sources.salesforce.reconciliation import REPORT_ROWS

        return REPORT_ROWS

    def examine(self, settings: Settings) -> Iterable[tuple[bool, str]]:
        """Login, rights and limits of a live organisation."""
        if settings.salesforce_source != "live":
            return ()
        from gtm_assets.sources.salesforce.live.diagnostics import examine

        return examine(settings, self.refresh(settings))
