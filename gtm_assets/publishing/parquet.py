"""Copies of what is published as Parquet, for tools that read no DuckDB file."""

from __future__ import annotations

from pathlib import Path

import duckdb

from gtm_assets.engines.files import literal
from gtm_assets.runtime.linked_folder import replaced

PARQUET = "parquet"
"""The folder's name, beside the published file."""


def copy_tables(published: Path, folder: Path) -> int:
    """Let ``folder`` hold ``<schema>/<table>.parquet`` of each table and view of a published file.

    All files are replaced at once. Returns how many they are.

    Raises:
        OSError, duckdb.IOException: the disk is full, or the folder can't be written. ``folder`` is as it was.
    """
    with duckdb.connect(str(published), read_only=True) as file:
        file.execute("set TimeZone = 'UTC'")
        tables = file.execute(
            "select schema_name, table_name from duckdb_tables()"
            " union all select schema_name, view_name from duckdb_views() where not internal order by all"
        ).fetchall()
        ((run_id,),) = file.execute("select run_id from gtm_meta.publication").fetchall()
        with replaced(folder, run_id[:8]) as new:
            for schema, table in tables:
                (new / schema).mkdir(exist_ok=True)
                place = new / schema / f"{table}.parquet"
                file.execute(f'copy (from "{schema}"."{table}") to {literal(place)} (format parquet)')
    return len(tables)
