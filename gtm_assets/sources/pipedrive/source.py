"""Pipedrive as a source: a folder with an export, or a synthetic one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gtm_assets.catalog.origin import Origin
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.settings import Settings
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.source import Source

if TYPE_CHECKING:
    import dagster as dg

    from gtm_assets.checks.reconciliation import SourceReconciliation
    from gtm_assets.lake.store import Lake
    from gtm_assets.partitions import Calendar
    from gtm_assets.sources.raw_asset import Rules


class Pipedrive(Source):
    """The files of one export."""

    name = "pipedrive"
    description = "Rows of Pipedrive's export as the lake holds them: every landed version of every record."
    tables = TABLES
    reconciliation_check = "reconciles_with_pipedrive"
    reconciliation_description = (
        "Counts of the table's rows from Pipedrive are, day by day, those of the raw records."
    )

    def mode(self, settings: Settings) -> str | None:
        """``export``, ``synthetic`` or off."""
        return settings.pipedrive_source

    def raw_asset(self, table: RawTable, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
        """The raw table of one file."""
        from gtm_assets.sources.pipedrive import assets

        return assets.raw_asset(table, read, rules)

    def resources(self, settings: Settings, calendar: Calendar) -> Mapping[str, Any]:
        """``pipedrive``: the export."""
        if settings.pipedrive_dir:
            from gtm_assets.sources.pipedrive.export import ExportFolder

            return {"pipedrive": ExportFolder(settings.pipedrive_dir)}
        from gtm_assets.sources.pipedrive.synthetic import SyntheticExport

        return {"pipedrive": SyntheticExport(settings.synthetic_seed, settings.synthetic_scale)}

    def refuse_to_land(self, settings: Settings, lake: Lake) -> None:
        """Refuse records of one origin beside those of another."""
        from gtm_assets.sources.pipedrive.export import check_origin

        if settings.pipedrive_source:
            check_origin(lake, settings.pipedrive_source)

    def tells_news(self, settings: Settings) -> bool:
        """An export's files do."""
        return settings.pipedrive_dir is not None

    def has_news(self, settings: Settings, lake: Lake, table: RawTable) -> bool:
        """Whether the table's file is another one than was extracted last."""
        from gtm_assets.sources.pipedrive.export import ExportFolder

        return settings.pipedrive_dir is not None and ExportFolder(settings.pipedrive_dir).has_news(table, lake)

    def can_be_read(self, settings: Settings, lake: Lake, table: RawTable) -> bool | None:
        """Whether the table's file is in the folder."""
        if settings.pipedrive_dir is None:
            return super().can_be_read(settings, lake, table)
        from gtm_assets.sources.pipedrive.export import ExportFolder

        return ExportFolder(settings.pipedrive_dir).has_file(table)

    def reconciliations(self) -> Sequence[SourceReconciliation]:
        """The tables of core that are made of the files."""
        from gtm_assets.sources.pipedrive.reconciliation import SOURCE_RECONCILIATIONS

        return SOURCE_RECONCILIATIONS

    def origins(self) -> Sequence[Origin]:
        """A deal is all its changes."""
        from gtm_assets.sources.pipedrive.reconciliation import ORIGINS

        return ORIGINS

    def report_rows(self) -> Mapping[str, str]:
        """The steps of the funnel."""
        from gtm_assets.sources.pipedrive.reconciliation import REPORT_ROWS

        return REPORT_ROWS

    def examine(self, settings: Settings) -> Iterable[tuple[bool, str]]:
        """Each file of the folder."""
        if settings.pipedrive_dir is None:
            return ()
        from gtm_assets.sources.pipedrive.diagnostics import examine

        return examine(settings, settings.pipedrive_dir)

    def summary(self, settings: Settings, reach: str) -> str:
        """Where the export lies; nothing of a synthetic one."""
        return f"{self.name}: the export in {settings.pipedrive_dir}" if settings.pipedrive_dir else ""
