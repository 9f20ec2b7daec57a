"""Which engine the settings name."""

from __future__ import annotations

from pathlib import Path

from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.engines.engine import Engine, EngineError
from gtm_assets.settings import Settings


def engine_of(settings: Settings, path: Path | None = None) -> Engine:
    """The engine that the settings name, with the warehouse whose file, or whose copy's, is at ``path``.

    Raises:
        EngineError: what the engine needs is not installed.
        AddressError: ``GTM_WAREHOUSE_URL`` is no address of PostgreSQL.
    """
    path = path or settings.warehouse_path
    if settings.engine == "duckdb":
        return DuckDB(path, settings.memory_limit)
    try:
        # Imported here: it is an extra.
        from gtm_assets.engines.postgres import Postgres
    except ImportError as error:
        raise EngineError(
            f"GTM_ENGINE=postgres needs what is not installed ({error}). Install it: make setup-postgres"
        ) from error
    return Postgres(settings.warehouse_address, settings.schema_prefix, path, settings.export_published)
