"""DuckDB, embedded: the warehouse is two files in the state folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from typing_extensions import override

from gtm_assets import place
from gtm_assets.engines.engine import Content, Engine
from gtm_assets.engines.files import (
    MEMORY_LIMIT,
    attach_staging,
    compact,
    connect,
    create,
    literal,
    log_path,
    staging_path,
)
from gtm_assets.place import Place

_HEADERS = 3 * 4096
"""Bytes of a DuckDB file's headers."""


class DuckDB(Engine):
    """The default. Views are not bound to the tables that they read."""

    name = "duckdb"
    libraries = ("dbt-duckdb", "duckdb")
    errors = (duckdb.Error,)
    views_stand = True

    def __init__(self, path: Path, memory_limit: str = MEMORY_LIMIT, lake: Place | None = None) -> None:
        """``memory_limit`` is what reading it, and writing it anew, may take, as DuckDB writes it.

        ``lake`` is where the lake lies that checks read beside it.
        """
        super().__init__(path)
        self._memory_limit, self._lake = memory_limit, lake

    @property
    @override
    def place(self) -> str:
        return str(self.path)

    @override
    def exists(self) -> bool:
        return self.path.exists()

    @override
    def dbt_environment(self) -> Mapping[str, str]:
        return {"GTM_ENGINE": self.name, "GTM_WAREHOUSE_FILE": str(self.path)}

    @override
    def prepare(self) -> None:
        create(self.path)

    @override
    def connect(self) -> duckdb.DuckDBPyConnection:
        connection = connect(self.path, read_only=False)
        self._let_read(connection)
        return connection

    def _let_read(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._lake is not None:
            place.let_read(connection, self._lake)

    @override
    def content_of(
        self, connection: Any, database: str, schema: str, table: str, by: Sequence[str] = ()
    ) -> Content:
        """Rows are told apart by two hashes of 64 bits, one of the columns in reverse order."""
        columns = connection.execute(
            "select column_name, data_type from duckdb_columns()"
            " where database_name = $1 and schema_name = $2 and table_name = $3 order by column_index",
            [database, schema, table],
        ).fetchall()
        names = [f'"{name}"' for name, _ in columns if not by or name in by]
        one, other = (f"sum(hash({', '.join(order)}))::varchar" for order in (names, reversed(names)))
        ((count, *sums),) = connection.execute(
            f'select count(*), {one}, {other} from "{database}"."{schema}"."{table}"'
        ).fetchall()
        return Content(columns, count, sums)

    @override
    def stamp(self) -> Any:
        """The sizes of both files and their headers; None where either is not there, or not closed."""
        stamps = [_stamp(self.path), _stamp(staging_path(self.path))]
        return None if None in stamps else stamps

    @override
    def relations(self) -> None:
        return None

    @override
    def end_build(self) -> None:
        compact(self.path, self._memory_limit)

    @override
    def consumed(self) -> set[str]:
        # Raw tables are consumed by base alone.
        staging = staging_path(self.path)
        if not staging.exists():
            return set()
        with duckdb.connect(str(staging), read_only=True) as connection:
            try:
                rows = connection.execute("select batch_id from gtm_meta.consumed_batches").fetchall()
            except duckdb.CatalogException:
                return set()
        return {row[0] for row in rows}

    @override
    @contextmanager
    def reading(self, contents: Mapping[str, str], whole: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """The files themselves, read-only."""
        # Imported here: commands that read no warehouse do without Dagster.
        from dagster_duckdb import DuckDBResource

        resource = DuckDBResource(database=str(self.path), connection_config={"access_mode": "READ_ONLY"})
        with resource.get_connection() as connection:
            try:
                connection.execute("set TimeZone = 'UTC'")
                connection.execute(f"set memory_limit = {literal(self._memory_limit)}")
                attach_staging(connection, self.path)
                self._let_read(connection)
                yield connection
            finally:
                # The resource closes the connection only where the block raises nothing.
                connection.close()

    @override
    def as_of(self, folder: Path) -> DuckDB:
        # The manifest's relations carry this name.
        return DuckDB(folder / "warehouse.duckdb", self._memory_limit, self._lake)

    @override
    def remove(self) -> None:
        shutil.rmtree(self.path.parent, ignore_errors=True)


def headers_of(path: Path) -> str:
    """A digest of a DuckDB file's headers: each write that reaches the file changes one of them.

    Source: DuckDB's documentation, Storage Format.
    """
    with path.open("rb") as file:
        return hashlib.md5(file.read(_HEADERS), usedforsecurity=False).hexdigest()


def _stamp(path: Path) -> list[Any] | None:
    """What tells a database file from one that was written since; None where it is not there, or not closed."""
    if log_path(path).exists() or not path.exists():
        return None
    return [path.stat().st_size, headers_of(path)]
