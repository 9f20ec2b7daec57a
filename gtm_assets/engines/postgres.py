"""PostgreSQL: the warehouse is a set of schemas of a database that several people share.

Environments are told apart by the prefix of their schemas: ``gtm_core`` is production's, ``dev_ana_core`` that of
Ana's development. People read ``<prefix>published_core``, ``_mart`` and ``_meta``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
from adbc_driver_postgresql import dbapi
from typing_extensions import override

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.engines import address as addresses
from gtm_assets.engines.advisory_lock import take_lock
from gtm_assets.engines.engine import Connection, Content, Engine, EngineError, Rows, Say, Table, named
from gtm_assets.engines.files import literal, table_of
from gtm_assets.engines.postgres_publishing import Published, Source
from gtm_assets.engines.postgres_raw import columns_of, columns_query, copy_lake, follow_compaction
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.engines.reading_copy import Fetched, reading_copy
from gtm_assets.lake.reader import LakeReader

BUILT = ("staging", "intermediate", "core", "mart", "certified", "meta")
"""The schemas that dbt writes."""
PUBLISHED = ("core", "mart", "meta")
_UNTIL_DBT_HAS_GONE = 5.0
"""Seconds for which the end of dbt's sessions is waited for."""


class _Connection:
    """A connection that commits each statement. Schemas are named as on DuckDB."""

    def __init__(self, connection: dbapi.Connection, prefix: str) -> None:
        self._connection, self._prefix = connection, prefix

    def execute(self, query: str, parameters: Any = None, /) -> Rows:
        """Execute a statement and fetch what it gives. Decimals come as texts."""
        with self._connection.cursor() as cursor:
            cursor.execute(named(query, self._prefix), parameters)
            rows = cursor.fetchall() if cursor.description else []
            return Rows(cursor.description or [], rows)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Postgres(Engine):
    """A PostgreSQL server, version 15 or later."""

    name = "postgres"
    libraries = ("dbt-postgres",)
    errors = (dbapi.Error,)
    # A table that is replaced takes the views that read it with it.
    views_stand = False

    def __init__(self, address: str, prefix: str, path: Path, exports: bool = True) -> None:
        """``address`` is the database's, ``path`` that of the copy which checks read.

        Raises:
            AddressError: it is no address.
        """
        super().__init__(path)
        self.address, self.schema_prefix, self.exports = address, prefix, exports
        self._server = Server(address, "GTM_WAREHOUSE_URL")
        self._told = addresses.dbt_environment(address)

    @property
    @override
    def place(self) -> str:
        return f"{self._server.place}, schemas {self.schema_prefix}*"

    @override
    def dbt_environment(self) -> Mapping[str, str]:
        return {**self._told, "GTM_SCHEMA_PREFIX": self.schema_prefix, "GTM_WAREHOUSE_FILE": str(self.path)}

    @property
    @override
    def parsed_for(self) -> Mapping[str, str]:
        told = self.dbt_environment()
        return {name: told[name] for name in ("GTM_ENGINE", "GTM_POSTGRES_DATABASE", "GTM_SCHEMA_PREFIX")}

    @override
    def exists(self) -> bool:
        with self.connect() as connection:
            [(there,)] = connection.execute("select to_regclass('gtm_meta.built_models') is not null").fetchall()
        return bool(there)

    @override
    def prepare(self) -> None:
        self.examine()

    @override
    def examine(self) -> None:
        self._server.examine()

    @override
    def bring_lake(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        with closing(self._server.open(autocommit=False)) as connection:
            copy_lake(connection, lake, tables, self.schema_prefix)

    @override
    def follow_compaction(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        with closing(self._server.open(autocommit=False)) as connection:
            follow_compaction(connection, lake, tables, self.schema_prefix)

    # -- connections ---------------------------------------------------------------------------------------------

    @override
    def connect(self) -> _Connection:
        return _Connection(self._server.open(), self.schema_prefix)

    @override
    @contextmanager
    def held(self, purpose: str, say: Say) -> Iterator[None]:
        """Hold an advisory lock of the database."""
        with _Connection(self._server.open(name=f"gtm: {purpose}"), self.schema_prefix) as connection:
            take_lock(lambda query: connection.execute(query).rows, self.schema_prefix, say)
            yield

    # -- what it holds -------------------------------------------------------------------------------------------

    @override
    def content_of(
        self, connection: Connection, database: str, schema: str, table: str, by: Sequence[str] = ()
    ) -> Content:
        """Rows are told apart by two hashes of 64 bits of their text, with different seeds."""
        columns = connection.execute(columns_query(f'"{schema}"."{table}"')).fetchall()
        names = ", ".join(f'"{name}"' for name, _ in columns if not by or name in by)
        [(count, *sums)] = connection.execute(
            "select count(*), cast(sum(hashtextextended(whole, 0)) as text),"
            " cast(sum(hashtextextended(whole, 1)) as text)"
            f' from (select cast(row({names}) as text) as whole from "{schema}"."{table}") as rows'
        ).fetchall()
        return Content(columns, count, sums)

    @override
    def stamp(self) -> Any:
        """How many rows of each table were ever written, in which file it lies, and how each view is defined.

        Source: PostgreSQL's documentation, The Cumulative Statistics System. A crash of the server sets the counts
        to 0: then everything is built again, and nothing is wrong.
        """
        with self.connect() as connection:
            found = connection.execute(
                "select nspname, pg_class.relname, cast(relkind as text),"
                " coalesce(n_tup_ins + n_tup_upd + n_tup_del, 0),"
                " cast(pg_relation_filenode(pg_class.oid) as bigint),"
                " case when relkind = 'v' then md5(pg_get_viewdef(pg_class.oid)) end"
                " from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid"
                " left join pg_stat_all_tables on relid = pg_class.oid"
                f" where relkind in ('r', 'v') and nspname in ({self._built()})"
                " order by nspname, pg_class.relname"
            ).fetchall()
        layers = {f"{self.schema_prefix}{layer}": f"gtm_{layer}" for layer in BUILT}
        return {f"{layers[schema]}.{table}": told for schema, table, *told in found} or None

    @override
    def relations(self) -> set[tuple[str, str]]:
        with self.connect() as connection:
            return _relations(connection, self.schema_prefix, self._built())

    def _built(self) -> str:
        return ", ".join(literal(f"{self.schema_prefix}{layer}") for layer in BUILT)

    @override
    def end_build(self) -> None:
        """Wait until dbt's sessions have ended: only then is counted what they have written."""
        until = time.monotonic() + _UNTIL_DBT_HAS_GONE
        with self.connect() as connection:
            while time.monotonic() < until:
                [(sessions,)] = connection.execute(
                    "select count(*) from pg_stat_activity where datname = current_database()"
                    " and usename = current_user and application_name = 'dbt'"
                ).fetchall()
                if not sessions:
                    return
                time.sleep(0.05)

    @override
    def consumed(self) -> set[str]:
        with self.connect() as connection:
            try:
                rows = connection.execute("select batch_id from gtm_meta.consumed_batches").fetchall()
            except dbapi.Error:
                return set()
        return {row[0] for row in rows}

    @override
    @contextmanager
    def reading(self, contents: Mapping[str, str], whole: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A copy in the state folder, of what is read."""
        with (
            closing(self._server.open()) as server,
            reading_copy(self.path, _Fetcher(server, self.schema_prefix, self._built()), contents, whole) as copy,
        ):
            yield copy

    # -- what people read ----------------------------------------------------------------------------------------

    @override
    def publish(self, said: Path, comments: Mapping[str, Table]) -> None:
        """Change what people read into what core and mart hold, in one transaction (:class:`Published`)."""
        try:
            with (
                closing(self._server.open(autocommit=False, name="gtm: publishing")) as connection,
                connection.cursor() as cursor,
            ):
                sources = [*self._of_models(cursor, comments), *self._of_file(cursor, said)]
                views = self.views(cursor, comments) if self.views else None
                Published(connection, [self._published(layer) for layer in PUBLISHED], views).bring(sources)
        except dbapi.Error as error:
            raise EngineError(
                f"{self.place}: what was built was not published ({in_one_line(error)}). Readers see what they "
                "saw before. Mend it and run: gtm run"
            ) from error

    def _published(self, layer: str) -> str:
        return f"{self.schema_prefix}published_{layer}"

    def _of_models(self, cursor: dbapi.Cursor, described: Mapping[str, Table]) -> Iterator[Source]:
        """Core and mart, as they are built."""
        for name, table in sorted(described.items()):
            schema, model = name.split(".")
            layer = schema.removeprefix("gtm_")
            relation = f'{self.schema_prefix}{layer}."{model}"'
            if layer in PUBLISHED and (columns := _columns(cursor, relation)):
                yield Source(self._published(layer), model, columns, table, came=relation)

    def _of_file(self, cursor: dbapi.Cursor, said: Path) -> Iterator[Source]:
        """The tables by which what is published says of itself what it is, brought from the file."""
        with duckdb.connect(str(said), read_only=True) as file:
            file.execute("set TimeZone = 'UTC'")
            tables = file.execute(
                "select table_name from duckdb_tables() where schema_name = 'gtm_meta' order by table_name"
            ).fetchall()
            for (table,) in tables:
                rows = file.sql(f'select * from gtm_meta."{table}"').to_arrow_table()
                cursor.adbc_ingest(table, rows, mode="create", temporary=True)
                relation = f'pg_temp."{table}"'
                about = table_of(file, "gtm_meta", table)
                yield Source(self._published("meta"), table, _columns(cursor, relation), about, came=relation)

    @override
    def forget(self) -> list[str]:
        """The copy of the lake, what is built, and what killed builds as of earlier days have left."""
        prefixes = (self.schema_prefix, self.as_of(self.path.parent).schema_prefix)
        schemas = ", ".join(literal(f"{prefix}{layer}") for prefix in prefixes for layer in ("raw", *BUILT))
        # The schemas stay, and with them who may use them.
        with self.connect() as connection:
            there = connection.execute(
                "select format('%I.%I', nspname, relname), cast(relkind as text) from pg_class"
                " inner join pg_namespace on relnamespace = pg_namespace.oid"
                f" where relkind in ('r', 'v') and nspname in ({schemas}) order by 2 desc, 1"
            ).fetchall()
            for relation, kind in there:
                connection.execute(f"drop {'view' if kind == 'v' else 'table'} if exists {relation} cascade")
        return [f"{self._server.place}: {len(there):,} tables and views that were built"] if there else []

    @override
    def as_of(self, folder: Path) -> Postgres:
        return Postgres(self.address, f"{self.schema_prefix}as_of_", folder / "warehouse.duckdb")

    @override
    def remove(self) -> None:
        with self.connect() as connection:
            for layer in ("raw", *BUILT):
                connection.execute(f"drop schema if exists {self.schema_prefix}{layer} cascade")
        shutil.rmtree(self.path.parent, ignore_errors=True)


class _Fetcher:
    """Reads tables as Arrow. The driver gives no decimals, so that these come as texts."""

    def __init__(self, connection: dbapi.Connection, prefix: str, schemas: str) -> None:
        self._connection, self._prefix, self._schemas = connection, prefix, schemas
        self._reading = connection.cursor()
        """From which the rows are read that were fetched last."""

    def tables(self) -> set[tuple[str, str]]:
        return _relations(_Connection(self._connection, self._prefix), self._prefix, self._schemas)

    def fetch(self, schema: str, table: str) -> Fetched:
        physical = f"{self._prefix}{schema.removeprefix('gtm_')}"
        with self._connection.cursor() as cursor:
            columns = columns_of(cursor, physical, table)
        selected = ", ".join(
            f'cast("{name}" as text) as "{name}"' if type_.startswith("decimal") else f'"{name}"'
            for name, type_ in columns.items()
        )
        self._reading.close()
        self._reading = self._connection.cursor()
        self._reading.execute(f'select {selected} from "{physical}"."{table}"')
        return Fetched(columns, self._reading.fetch_record_batch())


def _columns(cursor: dbapi.Cursor, relation: str) -> dict[str, str]:
    cursor.execute(columns_query(relation))
    return dict(cursor.fetchall())


def _relations(connection: _Connection, prefix: str, schemas: str) -> set[tuple[str, str]]:
    rows = connection.execute(
        "select nspname, relname from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid"
        f" where relkind in ('r', 'v') and nspname in ({schemas})"
    ).fetchall()
    return {(f"gtm_{schema.removeprefix(prefix)}", table) for schema, table in rows}
