"""Spark on Iceberg tables: the warehouse lies in a folder or an object store, its catalogue in a database.

Spark builds, in dbt's own process. Everything else asks the catalogue and reads the tables by PyIceberg, for which
no Java has to start.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from py4j.protocol import Py4JError
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable
from pyiceberg.types import DecimalType, IcebergType
from pyspark.errors import PySparkException
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.engines.engine import Connection, Content, Engine, EngineAway, EngineError, Rows, Say, Table, named
from gtm_assets.engines.reading_copy import Fetched, reading_copy
from gtm_assets.engines.spark import CATALOGUE, Warehouse, dbt_environment, jars
from gtm_assets.engines.spark_raw import add_lake, catalogue_of, follow_compaction
from gtm_assets.lake.reader import LakeReader

OLDEST_JAVA = 17
"""The oldest Java that Spark 4 runs on (Spark's documentation, Overview)."""
BUILT = ("staging", "intermediate", "core", "mart", "meta")
PUBLISHED = ("core", "mart")
COLUMNS = {
    "catalog_name",
    "table_namespace",
    "table_name",
    "metadata_location",
    "previous_metadata_location",
    "iceberg_type",
}
"""The columns of the catalogue's table that publishing writes, as Iceberg's JDBC catalogue V1 has them."""
_OUR_TYPES = {
    "boolean": "boolean",
    "date": "date",
    "double": "double",
    "float": "float",
    "int": "integer",
    "long": "bigint",
    "string": "varchar",
    "timestamp": "timestamp",
    "timestamptz": "timestamp with time zone",
}


class _Connection:
    """Spark's session of this process, which dbt has begun."""

    def __init__(self, prefix: str) -> None:
        from pyspark.sql import SparkSession

        self._session, self._prefix = SparkSession.builder.getOrCreate(), prefix

    def execute(self, query: str, parameters: Any = None, /) -> Rows:
        """Execute a statement and fetch what it gives."""
        assert not parameters
        found = self._session.sql(named(query, self._prefix)).toArrow()
        rows = [tuple(row.values()) for row in found.to_pylist()]
        return Rows([(name,) for name in found.column_names], rows)

    def columns_of(self, schema: str, table: str) -> list[tuple[str, str]]:
        """Names and types."""
        fields = self._session.table(f"{schema}.{table}").schema.fields
        return [(field.name, field.dataType.simpleString()) for field in fields]

    def close(self) -> None:
        """The session stays: dbt uses it too."""

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Spark(Engine):
    """Spark SQL, on this machine or a cluster."""

    name = "spark"
    libraries = ("dbt-spark", "pyspark")
    errors = (PySparkException, Py4JError)
    views_stand = True

    def __init__(
        self,
        path: Path,
        warehouse: Warehouse,
        prefix: str = "gtm_",
        exports: bool = True,
        resources: tuple[str, str, int] = ("local[*]", "2g", 8),
    ) -> None:
        """``path`` is that of the copy which checks read.

        ``resources`` are Spark's cluster, the memory of its driver, and into how many parts it shuffles rows.
        """
        super().__init__(path)
        self.warehouse, self.schema_prefix, self.exports = warehouse, prefix, exports
        self._resources = resources

    @property
    @override
    def place(self) -> str:
        return f"Spark at {self._resources[0]}, Iceberg tables {self.schema_prefix}* in {self.warehouse.files}"

    @override
    def dbt_environment(self) -> Mapping[str, str]:
        told = dbt_environment(self.warehouse, *self._resources)
        return {**told, "GTM_SCHEMA_PREFIX": self.schema_prefix, "GTM_WAREHOUSE_FILE": str(self.path)}

    @property
    @override
    def parsed_for(self) -> Mapping[str, str]:
        return {"GTM_ENGINE": self.name, "GTM_SCHEMA_PREFIX": self.schema_prefix}

    @override
    def examine(self) -> None:
        """Ask whether Java, the jars and the catalogue are there."""
        jars()
        version = _java_version()
        if version is None:
            raise EngineError(f"GTM_ENGINE=spark needs Java {OLDEST_JAVA} or later, and none is found: install it")
        if version < OLDEST_JAVA:
            raise EngineError(f"GTM_ENGINE=spark needs Java {OLDEST_JAVA} or later, and this is {version}")
        self.pointers()

    @override
    def prepare(self) -> None:
        self.examine()

    @override
    def exists(self) -> bool:
        return ("gtm_meta", "built_models") in self.relations()

    @override
    def bring_lake(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        add_lake(self.catalogue(), lake, tables, self.schema_prefix)

    @override
    def follow_compaction(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        follow_compaction(self.catalogue(), lake, tables, self.schema_prefix)

    @override
    def connect(self) -> _Connection:
        return _Connection(self.schema_prefix)

    @override
    def content_of(
        self, connection: Connection, database: str, schema: str, table: str, by: Sequence[str] = ()
    ) -> Content:
        """Rows are told apart by two hashes of 64 bits, one of the columns in reverse order."""
        assert isinstance(connection, _Connection)
        columns = connection.columns_of(schema, table)
        # A hash leaves out what is null.
        names = [f"`{name}`, `{name}` is null" for name, _ in columns if not by or name in by]
        one, other = (
            f"sum(cast(xxhash64({', '.join(order)}) as decimal(20, 0)))" for order in (names, names[::-1])
        )
        [(count, *sums)] = connection.execute(
            f"select count(*) as row_count, {one} as one, {other} as other from {schema}.{table}"
        ).fetchall()
        return Content(columns, count, [str(value) for value in sums])

    # -- the catalogue -------------------------------------------------------------------------------------------

    def catalogue(self) -> SqlCatalog:
        """The catalogue, as PyIceberg reads and writes it."""
        return catalogue_of(self.warehouse)

    def pointers(self, published: bool = False) -> dict[tuple[str, str], tuple[str, str]]:
        """By schema, ``gtm_<layer>``, and name the kind of each table and view, and where its metadata lie.

        Of what is built, or of what is ``published``: read at once, as one publication left it.

        Raises:
            EngineAway: the catalogue's database does not answer.
        """
        try:
            catalogue = self.catalogue()
            with catalogue.engine.connect() as connection:
                rows = connection.execute(
                    text(
                        "select table_namespace, table_name, iceberg_type, metadata_location from iceberg_tables"
                        " where catalog_name = :name"
                    ),
                    {"name": CATALOGUE},
                ).all()
        except SQLAlchemyError as error:
            raise EngineAway(
                f"the catalogue of Iceberg at {self.warehouse.catalogue} can't be reached "
                f"({str(error).splitlines()[0]}). Start its database, or mend GTM_SPARK_CATALOG"
            ) from error
        if published:
            layers = self._published
        else:
            layers = {f"{self.schema_prefix}{layer}": f"gtm_{layer}" for layer in BUILT}
        return {
            (layers[schema], table): (kind or "TABLE", location)
            for schema, table, kind, location in rows
            if schema in layers
        }

    @property
    def _published(self) -> dict[str, str]:
        """The schemas that people read, with ``gtm_<layer>`` of what they hold."""
        return {f"{self.schema_prefix}published_{layer}": f"gtm_{layer}" for layer in (*PUBLISHED, "meta")}

    def table_at(self, location: str) -> StaticTable:
        """A table by where its metadata lie."""
        return StaticTable.from_metadata(location)

    @override
    def stamp(self) -> Any:
        """Where the metadata of each table and view lie: each commit writes others."""
        return {
            f"{schema}.{table}": location for (schema, table), (_, location) in self.pointers().items()
        } or None

    @override
    def relations(self) -> set[tuple[str, str]]:
        return {*self.pointers()}

    @override
    def consumed(self) -> set[str]:
        if ("gtm_meta", "consumed_batches") not in self.relations():
            return set()
        ledger = self.catalogue().load_table(f"{self.schema_prefix}meta.consumed_batches")
        return set(ledger.scan(selected_fields=("batch_id",)).to_arrow()["batch_id"].to_pylist())

    @override
    @contextmanager
    def held(self, purpose: str, say: Say) -> Iterator[None]:
        """Of a catalogue in PostgreSQL hold an advisory lock; that of one in a file is the state folder's own."""
        if self.catalogue().engine.dialect.name != "postgresql":
            yield
            return
        with self.catalogue().engine.connect() as connection:
            key = {"key": f"{CATALOGUE} {self.schema_prefix}"}
            if not connection.execute(
                text("select pg_try_advisory_lock(hashtextextended(:key, 0))"), key
            ).scalar():
                say("The warehouse is in use by another machine. Waiting until it is free.")
                connection.execute(text("select pg_advisory_lock(hashtextextended(:key, 0))"), key)
            yield

    # -- reading -------------------------------------------------------------------------------------------------

    @override
    @contextmanager
    def reading(self, contents: Mapping[str, str], whole: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A copy in the state folder, of what is read. Views are Spark's alone: nobody else reads them."""
        with reading_copy(self.path, self, contents, whole) as copy:
            yield copy

    def tables(self) -> set[tuple[str, str]]:
        """The tables, without the views."""
        return {name for name, (kind, _) in self.pointers().items() if kind == "TABLE"}

    def fetch(self, schema: str, table: str) -> Fetched:
        """A table as Arrow."""
        iceberg = self.catalogue().load_table((f"{self.schema_prefix}{schema.removeprefix('gtm_')}", table))
        columns = {field.name: our_type(field.field_type) for field in iceberg.schema().fields}
        return Fetched(columns, iceberg.scan().to_arrow_batch_reader())

    # -- what people read ----------------------------------------------------------------------------------------

    @override
    def publish(self, said: Path, comments: Mapping[str, Table]) -> None:
        """Tag each table of core and mart, and point the published schemas at them, in one transaction.

        Nothing is copied: a tag keeps the snapshot from expiring. Readers of the published schemas see all of what
        was published before, or all of what is published now.

        Raises:
            EngineError: the catalogue's table is not the one that is known.
        """
        catalogue = self.catalogue()
        self._refuse_another_catalogue(catalogue)
        tables = sorted(
            (schema, table)
            for schema, table in self.tables()
            if f"{schema}.{table}" in comments and schema.removeprefix("gtm_") in PUBLISHED
        )
        for schema, table in tables:
            iceberg = catalogue.load_table((f"{self.schema_prefix}{schema.removeprefix('gtm_')}", table))
            snapshot = iceberg.current_snapshot()
            if snapshot is not None:
                iceberg.manage_snapshots().create_tag(snapshot.snapshot_id, "published").commit()
        self._write_said(catalogue, said)
        self._point(catalogue, tables)

    def _refuse_another_catalogue(self, catalogue: SqlCatalog) -> None:
        with catalogue.engine.connect() as connection:
            found = {*connection.execute(text("select * from iceberg_tables where 1 = 0")).keys()}
        if found != COLUMNS:
            raise EngineError(
                f"the catalogue at {self.warehouse.catalogue} has a table iceberg_tables with other columns than "
                f"those of Iceberg's JDBC catalogue V1 ({', '.join(sorted(found ^ COLUMNS))}): nothing was "
                "published"
            )

    def _write_said(self, catalogue: SqlCatalog, said: Path) -> None:
        """Write what the publication says of itself, into tables that nobody is pointed at yet."""
        catalogue.create_namespace_if_not_exists(f"{self.schema_prefix}said")
        with duckdb.connect(str(said), read_only=True) as file:
            file.execute("set TimeZone = 'UTC'")
            names = file.execute(
                "select table_name from duckdb_tables() where schema_name = 'gtm_meta'"
            ).fetchall()
            for (name,) in names:
                rows = file.sql(f'select * from gtm_meta."{name}"').to_arrow_table()
                place = f"{self.schema_prefix}said.{name}"
                if (
                    catalogue.table_exists(place)
                    and catalogue.load_table(place).schema().column_names != rows.column_names
                ):
                    catalogue.drop_table(place)
                catalogue.create_table_if_not_exists(place, rows.schema).overwrite(rows)

    def _point(self, catalogue: SqlCatalog, tables: Sequence[tuple[str, str]]) -> None:
        """Set all pointers of the published schemas in one transaction of the catalogue's database."""
        layers = {schema: physical for physical, schema in self._published.items()}
        for schema in layers.values():
            catalogue.create_namespace_if_not_exists(schema)
        listed = ", ".join(f"'{schema}'" for schema in layers.values())
        with catalogue.engine.begin() as connection:
            connection.execute(
                text(f"delete from iceberg_tables where catalog_name = :name and table_namespace in ({listed})"),
                {"name": CATALOGUE},
            )
            of_built = [
                (layers[schema], f"{self.schema_prefix}{schema.removeprefix('gtm_')}", t) for schema, t in tables
            ]
            for to, schema, table in of_built:
                self._copy_pointer(connection, schema, table, to)
            said = connection.execute(
                text(
                    "select table_name from iceberg_tables"
                    " where catalog_name = :name and table_namespace = :schema"
                ),
                {"name": CATALOGUE, "schema": f"{self.schema_prefix}said"},
            ).scalars()
            for table in list(said):
                self._copy_pointer(connection, f"{self.schema_prefix}said", table, layers["gtm_meta"])

    @staticmethod
    def _copy_pointer(connection: Any, schema: str, table: str, to: str) -> None:
        connection.execute(
            text(
                "insert into iceberg_tables"
                " (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)"
                " select catalog_name, :to, table_name, metadata_location, iceberg_type from iceberg_tables"
                " where catalog_name = :name and table_namespace = :schema and table_name = :table"
            ),
            {"name": CATALOGUE, "schema": schema, "table": table, "to": to},
        )

    @override
    def as_of(self, folder: Path) -> Spark:
        place = Warehouse.of(folder)
        return Spark(folder / "warehouse.duckdb", place, self.schema_prefix, resources=self._resources)

    @override
    def remove(self) -> None:
        shutil.rmtree(self.path.parent, ignore_errors=True)


def our_type(type_: IcebergType) -> str:
    """A type of Iceberg by the name that we give it."""
    if isinstance(type_, DecimalType):
        return f"decimal({type_.precision},{type_.scale})"
    return _OUR_TYPES[str(type_)]


def _java_version() -> int | None:
    """The major version of the Java that Spark would start; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else shutil.which("java")
    if java is None:
        return None
    try:
        said = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else None
