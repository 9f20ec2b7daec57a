"""The warehouse's files. Core and mart lie in one, what they are made of in a second beside it.

What is published is the first file, copied. So it is in the format that readers can open, and it is written anew
where it is not, or where much of it is free.
"""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from gtm_assets.engines.engine import Table

STAGING = "staging"
"""The name under which a connection to the warehouse has the second file attached, as dbt's profile has it."""
STORAGE_VERSION = "v1.2.0"
"""The format of the published file. DuckDB 1.2 and later open it, and so do the BI tools that carry one of them.
Without it DuckDB writes its newest, which no earlier release reads (DuckDB's documentation, Storage Versions)."""
MEMORY_LIMIT = "80%"
"""DuckDB's own."""
FREE_SHARE = 1 / 3
"""The warehouse is written anew where more than this share of its blocks is free."""
FREE_BLOCKS = 64
"""So many free blocks, of 256 KiB each, are no reason to write it anew."""


def staging_path(warehouse: Path) -> Path:
    """The second file of the warehouse at this path: seeds, staging and intermediate."""
    return warehouse.with_suffix(".staging.duckdb")


def create(warehouse: Path) -> None:
    """Make the warehouse's file where there is none, in the format of what is published."""
    if warehouse.exists():
        return
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(warehouse)
    with duckdb.connect() as connection:
        connection.execute(f"attach {literal(temporary)} as made (storage_version '{STORAGE_VERSION}')")
        connection.execute("detach made")
    temporary.replace(warehouse)


def attach_staging(connection: duckdb.DuckDBPyConnection, warehouse: Path, read_only: bool = True) -> None:
    """Attach the second file to a connection to the first, so that its schemas are found by their names alone."""
    if staging_path(warehouse).exists():
        option = "(read_only)" if read_only else ""
        connection.execute(f"attach if not exists {literal(staging_path(warehouse))} as {STAGING} {option}")
    ((own,),) = connection.execute("select current_database()").fetchall()
    schemas = connection.execute(
        "select schema_name from duckdb_schemas() where database_name = ? and schema_name like 'gtm@_%' escape '@'"
        # Both have a schema for what is known of their tables.
        " and schema_name <> 'gtm_meta'",
        [STAGING],
    ).fetchall()
    places = [f'"{own}".main', *(f"{STAGING}.{schema}" for (schema,) in schemas)]
    connection.execute(f"set search_path = {literal(','.join(places))}")


def connect(warehouse: Path, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """A connection to both files; its times are UTC."""
    connection = duckdb.connect(str(warehouse), read_only=read_only)
    connection.execute("set TimeZone = 'UTC'")
    attach_staging(connection, warehouse, read_only)
    return connection


def compact(warehouse: Path, memory_limit: str = MEMORY_LIMIT) -> bool:
    """Write the file anew where its format is another, or much of it is free; says whether it was.

    The caller holds the warehouse's lock. The file is replaced by rename: whenever this ends, it is whole. Where
    the disk has no room for it the file stays as it is, unless its format is another.
    """
    with duckdb.connect(config={"memory_limit": memory_limit}) as connection:
        connection.execute(f"attach {literal(warehouse)} as warehouse (read_only)")
        ((total, free),) = connection.execute(
            "select total_blocks, free_blocks from pragma_database_size() where database_name = 'warehouse'"
        ).fetchall()
        is_right = is_published_format(connection, "warehouse")
        if is_right and free <= max(FREE_BLOCKS, FREE_SHARE * total):
            return False
        connection.execute("detach warehouse")
        temporary = _temporary(warehouse)
        try:
            # For writing: what a process that was killed had only logged comes into the file, and the log goes.
            connection.execute(f"attach {literal(warehouse)} as warehouse")
            connection.execute(f"attach {literal(temporary)} as made (storage_version '{STORAGE_VERSION}')")
            connection.execute("copy from database warehouse to made")
            connection.execute("detach made")
            connection.execute("detach warehouse")
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(warehouse)
        except (OSError, duckdb.IOException):
            if not is_right:
                raise
            return False
        finally:
            temporary.unlink(missing_ok=True)
    return True


def is_published_format(connection: duckdb.DuckDBPyConnection, database: str) -> bool:
    """Whether a database is written in the format that readers of the published file can open."""
    ((version,),) = connection.execute(
        "select tags['storage_version'] from duckdb_databases() where database_name = ?", [database]
    ).fetchall()
    return str(version).startswith(STORAGE_VERSION)


def table_of(file: duckdb.DuckDBPyConnection, schema: str, name: str) -> Table:
    """What a file says of a table in it: its comment and those of its columns."""
    ((comment,),) = file.execute(
        "select comment from duckdb_tables() where database_name = current_database() and schema_name = ?"
        " and table_name = ?",
        [schema, name],
    ).fetchall()
    columns = file.execute(
        "select column_name, comment from duckdb_columns() where database_name = current_database()"
        " and schema_name = ? and table_name = ? and comment is not null",
        [schema, name],
    ).fetchall()
    return Table(comment or "", dict(columns))


def _temporary(path: Path) -> Path:
    """A place beside a file for what shall take its place, with nothing that a killed process has left."""
    temporary = path.with_name(f".{path.name}.tmp")
    for leftover in (temporary, log_path(temporary)):
        leftover.unlink(missing_ok=True)
    return temporary


def log_path(path: Path) -> Path:
    """Where DuckDB logs what it has not yet written to a database file."""
    return path.with_name(f"{path.name}.wal")


def literal(text: object) -> str:
    """A text as SQL writes it."""
    return "'" + str(text).replace("'", "''") + "'"
