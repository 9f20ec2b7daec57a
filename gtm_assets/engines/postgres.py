"""PostgreSQL: the warehouse is a set of schemas of a database that several people share.

Environments are told apart by the prefix of their schemas: ``gtm_core`` is production's, ``dev_ana_core`` that of
Ana's development. People read ``<prefix>published_core``, ``_mart`` and ``_meta``, which are renamed in one
transaction.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
from adbc_driver_postgresql import dbapi
from typing_extensions import override

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.engines import address as addresses
from gtm_assets.engines.engine import Connection, Content, Engine, EngineAway, EngineError, Rows, Say, Table, named
from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_raw import columns_of, copy_lake, follow_compaction
from gtm_assets.engines.reading_copy import Fetched, reading_copy
from gtm_assets.lake.reader import LakeReader

OLDEST = 15
"""The oldest major version whose counts of written rows say at once what a session has written that has ended."""
BUILT = ("staging", "intermediate", "core", "mart", "meta")
"""The schemas that dbt writes."""
PUBLISHED = ("core", "mart", "meta")
_BETWEEN_COPY_AND_SWAP = 0.1
"""Seconds from the commit of the copied rows to the change of names."""
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
        self._told = addresses.dbt_environment(address)

    @property
    @override
    def place(self) -> str:
        return f"PostgreSQL at {addresses.place_of(self.address)}, schemas {self.schema_prefix}*"

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
        """Ask whether the server answers, is new enough, and has the letters of UTF-8."""
        with self.connect() as connection:
            [(version, encoding)] = connection.execute(
                "select current_setting('server_version_num'), current_setting('server_encoding')"
            ).fetchall()
        if int(version) < OLDEST * 10_000:
            raise EngineError(f"{self.place} is of version {int(version) // 10_000}: take {OLDEST} or later")
        if encoding != "UTF8":
            raise EngineError(
                f"{self.place} is encoded in {encoding}, which lacks letters that names have: make the database "
                "with encoding 'UTF8'"
            )

    @override
    def bring_lake(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        with closing(self._open(autocommit=False)) as connection:
            copy_lake(connection, lake, tables, self.schema_prefix)

    @override
    def follow_compaction(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        with closing(self._open(autocommit=False)) as connection:
            follow_compaction(connection, lake, tables, self.schema_prefix)

    # -- connections ---------------------------------------------------------------------------------------------

    @override
    def connect(self) -> _Connection:
        return _Connection(self._open(), self.schema_prefix)

    def _open(self, autocommit: bool = True, name: str = "gtm") -> dbapi.Connection:
        try:
            connection = dbapi.connect(self.address, autocommit=autocommit)
        except dbapi.Error as error:
            raise EngineAway(
                f"{self.place} can't be reached ({_said(error)}). Start it, or mend GTM_WAREHOUSE_URL"
            ) from error
        with connection.cursor() as cursor:
            cursor.execute("set timezone = 'UTC'")
            cursor.execute(f"set application_name = {literal(name[:63])}")
        if not autocommit:
            connection.commit()
        return connection

    @override
    @contextmanager
    def held(self, purpose: str, say: Say) -> Iterator[None]:
        """Hold an advisory lock of the database, which the server lets go of where this process is killed."""
        with _Connection(self._open(name=f"gtm: {purpose}"), self.schema_prefix) as connection:
            key = f"hashtextextended({literal(self.schema_prefix)}, 0)"
            [(got,)] = connection.execute(f"select pg_try_advisory_lock({key})").fetchall()
            if not got:
                say(f"The warehouse is in use by {_holder(connection, key)}. Waiting until it is free.")
                connection.execute(f"select cast(pg_advisory_lock({key}) as text)")
            yield

    # -- what it holds -------------------------------------------------------------------------------------------

    @override
    def content_of(
        self, connection: Connection, database: str, schema: str, table: str, by: Sequence[str] = ()
    ) -> Content:
        """Rows are told apart by two hashes of 64 bits of their text, with different seeds."""
        columns = connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute where attnum > 0"
            f' and not attisdropped and attrelid = to_regclass(\'"{schema}"."{table}"\') order by attnum'
        ).fetchall()
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
            closing(self._open()) as server,
            reading_copy(self.path, _Fetcher(server, self.schema_prefix, self._built()), contents, whole) as copy,
        ):
            yield copy

    # -- what people read ----------------------------------------------------------------------------------------

    @override
    def publish(self, said: Path, comments: Mapping[str, Table]) -> None:
        """Copy core and mart into schemas beside what people read; then these change names, in one transaction.

        Who reads meanwhile waits for nobody. A statement that looks for the names of several tables at the very
        moment of the change may find one of them from before and another from after it.
        """
        try:
            with closing(self._open(autocommit=False, name="gtm: publishing")) as connection:
                try:
                    with connection.cursor() as cursor:
                        publishing = _Publishing(cursor, self.schema_prefix)
                        publishing.copy(said, comments)
                        # Whoever finds the tables by their new names has to see their rows. A reader may have
                        # taken its snapshot just before it looks for the names.
                        connection.commit()
                        time.sleep(_BETWEEN_COPY_AND_SWAP)
                        publishing.swap()
                    connection.commit()
                except BaseException:
                    connection.rollback()
                    self._drop("next")
                    raise
        except dbapi.Error as error:
            raise EngineError(
                f"{self.place}: what was built was not published ({_said(error)}). Readers see what they saw "
                "before. Mend it and run: gtm run"
            ) from error
        self._drop("replaced")

    def _drop(self, state: str) -> None:
        """Drop what was published before, or not. Where somebody still reads it, the next publication does so."""
        with self.connect() as connection:
            connection.execute("set lock_timeout = '1s'")
            for layer in PUBLISHED:
                with suppress(dbapi.Error):
                    connection.execute(f"drop schema if exists {self.schema_prefix}{state}_{layer} cascade")

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


class _Publishing:
    """One publication: the copy is one transaction, the change of names another."""

    def __init__(self, cursor: dbapi.Cursor, prefix: str) -> None:
        self._cursor, self._prefix = cursor, prefix

    def copy(self, said: Path, comments: Mapping[str, Table]) -> None:
        """Copy core and mart beside what people read."""
        for layer in PUBLISHED:
            self._make(self._schema("next", layer))
        for name, described in sorted(comments.items()):
            schema, table = name.split(".")
            layer = schema.removeprefix("gtm_")
            if layer in PUBLISHED and columns_of(self._cursor, f"{self._prefix}{layer}", table):
                self._copy(layer, table, described)
        self._say(said)

    def swap(self) -> None:
        """Let the copies take the names that people read."""
        for layer in PUBLISHED:
            self._cursor.execute(f"drop schema if exists {self._schema('replaced', layer)} cascade")
            published = self._schema("published", layer)
            self._make(published, replace=False)
            self._cursor.execute(f"alter schema {published} rename to {self._schema('replaced', layer)}")
            self._cursor.execute(f"alter schema {self._schema('next', layer)} rename to {published}")

    def _schema(self, state: str, layer: str) -> str:
        return f"{self._prefix}{state}_{layer}"

    def _make(self, schema: str, replace: bool = True) -> None:
        if replace:
            self._cursor.execute(f"drop schema if exists {schema} cascade")
        self._cursor.execute(f"create schema if not exists {schema}")

    def _copy(self, layer: str, table: str, described: Table) -> None:
        source, copy = f'{self._prefix}{layer}."{table}"', f'{self._schema("next", layer)}."{table}"'
        self._cursor.execute(f"create table {copy} (like {source} including constraints)")
        self._cursor.execute(f"insert into {copy} select * from {source}")
        self._cursor.execute(f"comment on table {copy} is {literal(described.description)}")
        for column, text in described.columns.items():
            if text:
                self._cursor.execute(f'comment on column {copy}."{column}" is {literal(text)}')
        self._cursor.execute(f"analyze {copy}")

    def _say(self, said: Path) -> None:
        """Bring the tables by which what is published says of itself what it is."""
        with duckdb.connect(str(said), read_only=True) as file:
            file.execute("set TimeZone = 'UTC'")
            tables = file.execute(
                "select table_name from duckdb_tables() where schema_name = 'gtm_meta' order by table_name"
            ).fetchall()
            for (table,) in tables:
                rows = file.sql(f'select * from gtm_meta."{table}"').to_arrow_table()
                self._cursor.adbc_ingest(table, rows, mode="create", db_schema_name=self._schema("next", "meta"))


def _relations(connection: _Connection, prefix: str, schemas: str) -> set[tuple[str, str]]:
    rows = connection.execute(
        "select nspname, relname from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid"
        f" where relkind in ('r', 'v') and nspname in ({schemas})"
    ).fetchall()
    return {(f"gtm_{schema.removeprefix(prefix)}", table) for schema, table in rows}


def _holder(connection: _Connection, key: str) -> str:
    """Who holds an advisory lock, in words.

    Source: PostgreSQL's documentation, pg_locks: a key of 64 bits is shown as two of 32.
    """
    rows = connection.execute(
        "select application_name, coalesce(host(client_addr), 'this machine'),"
        " to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI')"
        " from pg_locks inner join pg_stat_activity using (pid) where locktype = 'advisory' and granted"
        f" and (cast(classid as bigint) << 32) + cast(objid as bigint) = {key}"
    ).fetchall()
    return " and ".join(f"{name or 'a session'} from {host}, since {since} UTC" for name, host, since in rows) or (
        "another session"
    )


def _said(error: Exception) -> str:
    """What the driver said, in one line."""
    return " ".join(str(error).split())
