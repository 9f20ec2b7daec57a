"""Retention: which raw tables let go of superseded versions, and after how many days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gtm_assets.catalog.raw_table import ColumnType, RawTable
from gtm_assets.dbt.assets import layer_of
from gtm_assets.errors import LakeError
from gtm_assets.lake.retention import Retention
from gtm_assets.lake.store import Lake
from gtm_assets.settings import Settings


def of_histories(manifest: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Source and name of the raw tables of which a model reads more than the newest versions.

    Those are all that a model reads itself which is no base table.
    """
    sources = {id_: (one["source_name"], one["name"]) for id_, one in manifest["sources"].items()}
    return {
        sources[parent]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and not (layer_of(node) == "staging" and "base" in node["fqn"])
        for parent in node["depends_on"]["nodes"]
        if parent in sources
    }


def days_kept(settings: Settings, table: RawTable) -> int | None:
    """For how many days a table's superseded versions are kept; None for ever."""
    if settings.retention_days is None:
        return None
    own = settings.retention_by_table.get(table.qualified_name)
    if own is not None:
        return own
    has_amounts = any(column.type is ColumnType.CURRENCY for column in table.columns)
    return settings.financial_retention_days if has_amounts else settings.retention_days


def retain_lake(
    settings: Settings,
    tables: Sequence[RawTable],
    manifest: Mapping[str, Any],
    now: datetime,
    say: Callable[[str], None] = lambda _: None,
    is_dry: bool = False,
) -> list[Retention]:
    """Let go of superseded versions of tables without a history, as the settings say.

    ``tables`` are all raw tables; ``say`` hears of each that lets go of something.

    Raises:
        LakeError: a file of the lake can't be read or written, or the engine reads the lake's own files.
        WarehouseError: a process outside the platform has the warehouse open.
    """
    if unknown := settings.retention_by_table.keys() - {table.qualified_name for table in tables}:
        raise LakeError(f"GTM_RETENTION_OF_TABLES names {', '.join(sorted(unknown))}, which is no table")
    kept = {table: days_kept(settings, table) for table in tables}
    if not any(days is not None for days in kept.values()):
        return []
    if settings.engine != "duckdb":
        raise LakeError(
            f"GTM_RETENTION_DAYS is for GTM_ENGINE=duckdb: on {settings.engine} a copy of the lake, or its files "
            "themselves, are tables that would keep what goes. Leave it out"
        )
    from gtm_assets.dbt.warehouse import Warehouse

    lake, needed, done = Lake.of(settings), of_histories(manifest), []
    # No build may read a file while it is replaced.
    with Warehouse.of(settings).locked("gtm lake retain", say):
        for table, days in kept.items():
            if days is None or (table.source, table.name) in needed:
                continue
            one = lake.retain(table, now - timedelta(days=days), is_dry)
            done.append(one)
            if one.versions:
                would = "would go" if is_dry else "went"
                say(
                    f"{table.qualified_name}: {one.versions:,} versions superseded for more than {days:,} days "
                    f"{would}, in {one.files:,} files."
                )
    return done
