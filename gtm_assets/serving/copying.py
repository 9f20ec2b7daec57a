"""The published file brought to a PostgreSQL server, of which only the rows travel that differ.

A copy of the file that was served last is kept in the state folder, by a hard link where the disk has them. Two
files are compared in seconds; what differs is copied into temporary tables by binary COPY and changes what people
read (:mod:`~gtm_assets.engines.postgres_publishing`). The server says which publication it has. Where that is not
the one that was kept, all rows travel, and those that differ are found there.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
from adbc_driver_postgresql import dbapi

from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_publishing import Changed, Published, Source
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.errors import GtmError
from gtm_assets.publishing.said import META_TABLES
from gtm_assets.serving.securing import views_of

LAYERS = ("core", "mart", "meta")
"""The layers that are served; ``meta`` is what a publication says of itself."""
AT_A_TIME = 50_000
"""So many rows are held in memory while they travel."""
_TYPES = {
    "VARCHAR": "character varying",
    "BOOLEAN": "boolean",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "numeric(38,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "DATE": "date",
    "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
}
"""PostgreSQL's types by DuckDB's. A decimal is a numeric of the same digits."""


class ServeError(GtmError):
    """What is published could not be served. The message says why and what to do."""


@dataclass(frozen=True)
class Served:
    """What was served, and what it took."""

    tables: int
    changed: Sequence[Changed]
    """The tables of which rows changed."""
    rows_sent: int
    seconds: float

    @property
    def rows_changed(self) -> int:
        """Rows that people see changed."""
        return sum(one.deleted + one.updated + one.inserted for one in self.changed)


class Copying:
    """Brings a published file to a server."""

    def __init__(self, server: Server, prefix: str, kept: Path, access: Path | None = None) -> None:
        """``prefix`` begins the schemas; ``kept`` is where the file lies that was served last.

        ``access`` says who reads what.
        It counts where ``gtm access apply`` has been run for the server.
        """
        self.server, self.prefix, self.kept, self._access = server, prefix, kept, access

    def serve(self, published: Path, described: Mapping[str, Table]) -> Served:
        """Let people read on the server what the published file holds, in one transaction.

        Raises:
            ServeError: the file can't be read, or the server refuses what it holds. People see what they saw
                before.
            EngineError: the server is away, or a table of which columns change is read all the time.
        """
        began = time.monotonic()
        coming = self.kept.with_name(f".{self.kept.name}.next")
        self.kept.parent.mkdir(parents=True, exist_ok=True)
        # The file may be replaced meanwhile: of a link it stays what it was.
        _link(published, coming)
        try:
            with closing(self.server.open(autocommit=False, name="gtm: serving")) as connection:
                changed, sent = self._bring(connection, coming, described)
            coming.replace(self.kept)
        except (duckdb.Error, OSError) as error:
            raise ServeError(
                f"not served: {published} can't be read ({in_one_line(error)}). {self.server.place} has what it "
                "had. Publish again: gtm run --force"
            ) from error
        except dbapi.Error as error:
            raise ServeError(
                f"not served: {self.server.place} refused it ({in_one_line(error)}). People see what they saw "
                "before. Mend it and run: gtm run"
            ) from error
        finally:
            coming.unlink(missing_ok=True)
        some = [one for one in changed if one.deleted or one.updated or one.inserted]
        return Served(len(changed), some, sent, time.monotonic() - began)

    def _bring(
        self, connection: dbapi.Connection, coming: Path, described: Mapping[str, Table]
    ) -> tuple[list[Changed], int]:
        with connection.cursor() as cursor:
            # Two machines that serve at once would wait for each other's rows. The lock ends with the session.
            cursor.execute(f"select cast(pg_advisory_lock(hashtextextended({literal(self.prefix)}, 1)) as text)")
            cursor.fetchall()
            with duckdb.connect() as files:
                files.execute("set TimeZone = 'UTC'")
                files.execute(f"attach {literal(coming)} as coming (read_only)")
                before = self._is_kept(cursor)
                if before:
                    files.execute(f"attach {literal(self.kept)} as before (read_only)")
                sending = _Sending(files, cursor, before)
                sources = [
                    sending.source(f"{self.prefix}published_{layer}", f"gtm_{layer}", table, described)
                    for layer in LAYERS
                    for table in sending.tables(f"gtm_{layer}")
                ]
        if not sources:
            raise ServeError("not served: the published file holds no tables. Build and publish them: gtm run")
        schemas = [f"{self.prefix}published_{layer}" for layer in LAYERS]
        with connection.cursor() as cursor:
            views = views_of(cursor, self.prefix, self._access, described)
            return Published(connection, schemas, views).bring(sources), sending.rows_sent

    def _is_kept(self, cursor: dbapi.Cursor) -> bool:
        """Whether the server has what the kept file holds."""
        publication = f"{self.prefix}published_meta.publication"
        cursor.execute(f"select to_regclass({literal(publication)}) is not null")
        [(there,)] = cursor.fetchall()
        if not there or not self.kept.exists():
            return False
        cursor.execute(f"select run_id, published_at from {publication}")
        served = cursor.fetchall()
        try:
            with duckdb.connect(str(self.kept), read_only=True) as file:
                file.execute("set TimeZone = 'UTC'")
                kept = file.execute("select run_id, published_at from gtm_meta.publication").fetchall()
        except duckdb.Error:
            return False
        return len(kept) == 1 and [*map(tuple, served)] == kept


class _Sending:
    """Sends what differs in one file from another, table by table."""

    def __init__(self, files: duckdb.DuckDBPyConnection, cursor: dbapi.Cursor, has_before: bool) -> None:
        self._files, self._cursor = files, cursor
        self.rows_sent = 0
        self._columns: dict[tuple[str, str, str], dict[str, str]] = {}
        databases = ["coming", "before"] if has_before else ["coming"]
        listed = files.execute(
            "select database_name, schema_name, table_name, column_name, data_type from duckdb_columns()"
            " where list_contains($1, database_name)"
            " order by database_name, schema_name, table_name, column_index",
            [databases],
        ).fetchall()
        for database, schema, table, column, type_ in listed:
            self._columns.setdefault((database, schema, table), {})[column] = type_

    def tables(self, schema: str) -> list[str]:
        """The tables of a schema of the file that is served."""
        return sorted(table for database, of, table in self._columns if (database, of) == ("coming", schema))

    def source(self, published: str, schema: str, table: str, described: Mapping[str, Table]) -> Source:
        """A table to be published, of which the rows that differ have been sent."""
        columns = self._columns["coming", schema, table]
        types = {name: _postgres_type(f"{schema}.{table}", name, type_) for name, type_ in columns.items()}
        name = f"{schema}.{table}"
        about = described.get(name) or META_TABLES.get(name, Table("", {}))
        place = f'{schema}."{table}"'
        whole = f"from coming.{place}"
        if self._columns.get(("before", schema, table)) != columns:
            return Source(published, table, types, about, self._sent(f"{schema}.{table}", types, whole)[0])
        old = f"from before.{place}"
        if about.key is None:
            [(differs,)] = self._files.execute(
                f"select exists (({whole} except all {old}) union all ({old} except all {whole}))"
            ).fetchall()
            came = self._sent(f"{schema}.{table}", types, whole)[0] if differs else None
            return Source(published, table, types, about, came)
        key = {about.key: types[about.key]}
        came, rows = self._sent(f"{schema}.{table}", types, f"{whole} except {old}")
        gone, keys = self._sent(
            f"{schema}.{table} gone", key, f'select "{about.key}" {old} except select "{about.key}" {whole}'
        )
        return Source(published, table, types, about, came if rows or keys else None, gone)

    def _sent(self, name: str, types: Mapping[str, str], query: str) -> tuple[str, int]:
        """The temporary table that the rows of a query were copied into, and how many they are."""
        relation = f'pg_temp."{name}"'
        columns = ", ".join(f'"{column}" {type_}' for column, type_ in types.items())
        self._cursor.execute(f'create temporary table "{name}" ({columns})')
        cast = ", ".join(
            f'cast("{column}" as decimal(38, 0)) as "{column}"' if type_ == "numeric(38,0)" else f'"{column}"'
            for column, type_ in types.items()
        )
        reader = self._files.sql(f"select {cast} from ({query})").to_arrow_reader(AT_A_TIME)
        rows = int(self._cursor.adbc_ingest(name, reader, mode="append", temporary=True))
        self.rows_sent += max(rows, 0)
        return relation, rows


_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def _postgres_type(table: str, column: str, type_: str) -> str:
    if decimal := _DECIMAL.fullmatch(type_):
        return f"numeric({decimal[1]},{decimal[2]})"
    if type_ not in _TYPES:
        raise ServeError(
            f"not served: {table}.{column} is of type {type_}, for which PostgreSQL's is not known. Let its model "
            f"cast it to one of: {', '.join(sorted(_TYPES)).lower()}, decimal"
        )
    return _TYPES[type_]


def _link(path: Path, to: Path) -> None:
    """Let a file have a second name, or copy it where the disk has no such thing."""
    to.unlink(missing_ok=True)
    try:
        os.link(path, to)
    except FileNotFoundError as error:
        raise ServeError(f"not served: nothing is published at {path} yet. Publish: gtm run") from error
    except OSError:
        shutil.copyfile(path, to)
