"""What checks and publishing read of an engine beside DuckDB: its tables, fetched into the warehouse's files.

Python's checks are written once, in DuckDB's SQL. A table is fetched when a statement names it, and stays until
the engine's holds something else; so a check costs what it reads, and a second check of the same table nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from gtm_assets.engines.files import STAGING, attach_staging, compact, connect, create, staging_path

LAYERS = {"gtm_staging": STAGING, "gtm_intermediate": STAGING}
"""The database of schemas that do not lie in the warehouse's own file."""
_META = "gtm_meta"
_CERTIFIED = "gtm_certified"
"""Of views that are made anew where they are published."""
_NAMED = re.compile(r"\b(gtm_(?:meta|staging|intermediate|core|mart))\.(\w+)")


@dataclass(frozen=True)
class Fetched:
    """A table on its way from an engine."""

    columns: Mapping[str, str]
    """Types by column, as DuckDB names them."""
    rows: pa.RecordBatchReader
    """Values that DuckDB casts to these types without loss."""


class Fetcher(Protocol):
    """Gives an engine's tables."""

    def tables(self) -> set[tuple[str, str]]:
        """Schema, ``gtm_<layer>``, and name of all of them, views too."""

    def fetch(self, schema: str, table: str) -> Fetched:
        """One of them."""


@contextmanager
def reading_copy(
    path: Path, fetcher: Fetcher, contents: Mapping[str, str], whole: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the copy whose files begin at ``path``, which fetches what its statements name.

    ``contents`` says by a table's name what it holds; a table that it does not name is fetched anew. With
    ``whole`` all of core and mart are there, and nothing that they do not hold any more.
    """
    create(path)
    create(staging_path(path))
    if whole:
        compact(path)
    with closing(connect(path, read_only=False)) as connection:
        for schema in ("gtm_core", "gtm_mart", _META):
            connection.execute(f"create schema if not exists {schema}")
        for schema in (*LAYERS, _META):
            connection.execute(f"create schema if not exists {STAGING}.{schema}")
        attach_staging(connection, path, read_only=False)
        copy: Any = _ReadingCopy(connection, fetcher, contents)
        if whole:
            copy.fetch_published()
        yield copy


class _ReadingCopy:
    """DuckDB's connection, of which ``execute`` fetches first."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, fetcher: Fetcher, contents: Mapping[str, str]
    ) -> None:
        self._connection, self._fetcher, self._contents = connection, fetcher, contents
        ((self._own,),) = connection.execute("select current_database()").fetchall()
        self._there = fetcher.tables()
        self._fresh: set[tuple[str, str]] = set()
        self._connection.execute(
            f"create table if not exists {_META}.fetched (table_name varchar, content varchar)"
        )
        held = self._connection.execute(f"select table_name, content from {_META}.fetched").fetchall()
        self._held: dict[str, str] = dict(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, query: str, parameters: Any = None, /) -> duckdb.DuckDBPyConnection:
        """Fetch the tables that a statement names, and execute it."""
        for schema, table in sorted({*_NAMED.findall(query)} & self._there - self._fresh):
            self._fetch(schema, table)
        return self._connection.execute(query, parameters)

    def fetch_published(self) -> None:
        """Bring core, mart and what is known of them to what the engine holds."""
        wanted = {(schema, table) for schema, table in self._there if schema not in (*LAYERS, _CERTIFIED)}
        lying = self._connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = current_database()"
        ).fetchall()
        for schema, table in set(lying) - wanted - {(_META, "fetched")}:
            self._connection.execute(f'drop table "{schema}"."{table}"')
        for schema, table in sorted(wanted - self._fresh):
            self._fetch(schema, table)
        self._connection.execute("checkpoint")

    def _fetch(self, schema: str, table: str) -> None:
        content = None if schema == _META else self._contents.get(table)
        self._fresh.add((schema, table))
        if content and self._held.get(table) == content and self._lies(schema, table):
            return
        self._connection.execute(f"delete from {_META}.fetched where table_name = $1", [table])
        fetched = self._fetcher.fetch(schema, table)
        columns = ", ".join(f'"{name}" {type_}' for name, type_ in fetched.columns.items())
        cast = ", ".join(f'cast("{name}" as {type_})' for name, type_ in fetched.columns.items())
        # Both databases have a gtm_meta, and checks ask either.
        databases = (self._own, STAGING) if schema == _META else (LAYERS.get(schema, self._own),)
        rows = fetched.rows.read_all() if len(databases) > 1 else fetched.rows
        for database in databases:
            place = f'"{database}"."{schema}"."{table}"'
            self._connection.execute(f"create or replace table {place} ({columns})")
            self._connection.register("fetched_rows", rows)
            self._connection.execute(f"insert into {place} select {cast} from fetched_rows")
            self._connection.unregister("fetched_rows")
        if content:
            self._connection.execute(f"insert into {_META}.fetched values ($1, $2)", [table, content])

    def _lies(self, schema: str, table: str) -> bool:
        return bool(
            self._connection.execute(
                "select 1 from duckdb_tables() where database_name = $1 and schema_name = $2 and table_name = $3",
                [LAYERS.get(schema, self._own), schema, table],
            ).fetchall()
        )
