"""The sources. To add one: a folder with a :class:`Source`, its line here, and its settings in ``settings.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.settings import REFRESH_MINUTES, Refresh, Settings
from gtm_assets.sources.pipedrive.source import Pipedrive
from gtm_assets.sources.salesforce.source import Salesforce
from gtm_assets.sources.source import Source

if TYPE_CHECKING:
    import dagster as dg

    from gtm_assets.checks.definitions import SourceProof

SOURCES: tuple[Source, ...] = (
    Salesforce(),
    Pipedrive(),
)


def source_of(table: RawTable) -> Source:
    """The source of a table."""
    return next(source for source in SOURCES if source.name == table.source)


def extracted(settings: Settings) -> list[Source]:
    """The sources whose records we land."""
    return [source for source in SOURCES if source.mode(settings) is not None and not source.is_external(settings)]


def refreshes(settings: Settings) -> dict[str, Refresh]:
    """How often each source that we land is refreshed, by its name."""
    return {source.name: source.refresh(settings) for source in extracted(settings)}


def refresh_minutes(settings: Settings, table: RawTable) -> int:
    """Minutes from one refresh of a table to the next."""
    return REFRESH_MINUTES[source_of(table).refresh(settings)]


def full_extraction_checks(settings: Settings) -> list[dg.AssetCheckKey]:
    """The checks that are made after a full extraction alone, of the sources that are extracted."""
    return [key for source in extracted(settings) for key in source.full_extraction_checks()]


def proofs(settings: Settings) -> list[SourceProof]:
    """What core is compared with, source by source; of a source that is off it holds no rows."""
    from gtm_assets.checks.definitions import SourceProof

    return [
        SourceProof(
            source.tables,
            source.is_external(settings),
            source.reconciliation_check,
            source.reconciliation_description,
            source.reconciliations(),
            source.record_reconciliations(),
            source.report_rows(),
        )
        for source in SOURCES
    ]


def raw_tables(settings: Settings) -> tuple[RawTable, ...]:
    """The tables that are extracted into the lake, source by source; not those that another loader fills."""
    return tuple(table for source in extracted(settings) for table in source.tables)


def external_tables(settings: Settings) -> tuple[RawTable, ...]:
    """The tables that another loader fills, source by source."""
    return tuple(table for source in SOURCES if source.is_external(settings) for table in source.tables)
