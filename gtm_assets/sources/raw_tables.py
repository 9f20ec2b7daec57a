"""The raw tables that the platform lands: those of every source that the settings name."""

from __future__ import annotations

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.settings import Settings
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.salesforce.catalog import OBJECTS


def raw_tables(settings: Settings) -> tuple[RawTable, ...]:
    """The tables that are extracted into the lake, source by source; not those that another loader lands."""
    salesforce = () if settings.is_external else OBJECTS
    pipedrive = TABLES if settings.pipedrive_source else ()
    return (*salesforce, *pipedrive)
