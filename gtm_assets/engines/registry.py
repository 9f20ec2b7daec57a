"""Which engine the settings name."""

from __future__ import annotations

from pathlib import Path

from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.engines.engine import Engine, EngineError
from gtm_assets.engines.iceberg_catalog import Warehouse
from gtm_assets.place import place_of
from gtm_assets.settings import Settings


def engine_of(settings: Settings, path: Path | None = None) -> Engine:
    """The engine that the settings name, with the warehouse whose file, or whose copy's, is at ``path``.

    Raises:
        EngineError: what the engine needs is not installed.
        AddressError: ``GTM_WAREHOUSE_URL`` is no address of PostgreSQL.
    """
    path = path or settings.warehouse_path
    if settings.engine == "duckdb":
        return DuckDB(path, settings.memory_limit, place_of(settings))
    # Imported here: each is an extra.
    try:
        if settings.engine == "spark":
            from gtm_assets.engines.iceberg import Spark

            resources = (settings.spark_master, settings.spark_memory, settings.spark_partitions)
            return Spark(path, _warehouse(settings), settings.schema_prefix, settings.export_published, resources)
        from gtm_assets.engines.postgres import Postgres
    except ImportError as error:
        raise EngineError(
            f"GTM_ENGINE={settings.engine} needs what is not installed ({error}). "
            f"Install it: make setup-{settings.engine}"
        ) from error
    return Postgres(settings.warehouse_address, settings.schema_prefix, path, settings.export_published)


def _warehouse(settings: Settings) -> Warehouse:
    """Where Iceberg tables lie: what the settings name, else in the state folder."""
    password = settings.spark_catalog_password
    return Warehouse.named(
        settings.home,
        settings.spark_catalog,
        settings.spark_warehouse,
        settings.spark_catalog_user or "",
        password.get_secret_value() if password else "",
    )
