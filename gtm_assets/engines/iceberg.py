"""Spark on Iceberg tables: the warehouse lies in a folder or an object store, its catalogue in a database.

Spark builds, in dbt's own process. Everything else asks the catalogue and reads the tables by PyIceberg, for which
no Java has to start.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from py4j.protocol import Py4JError
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import StaticTable
from pyiceberg.types import DecimalType, IcebergType
from pyspark.errors import PySparkException
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from typing_extensions import override

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.engines.advisory_lock import take_lock
from gtm_assets.engines.engine import (
    Connection,
    Content,
    Engine,
    EngineAway,
    EngineError,
    Expired,
    Rows,
    Say,
    Table,
    named,
)
from gtm_assets.engines.iceberg_catalog import Warehouse
from gtm_assets.engines.iceberg_expiry import claim, expire, let_go
from gtm_assets.engines.iceberg_publishing import LAYERS, Publishing
from gtm_assets.engines.iceberg_tags import AWAY, REFUSED, Tagging, pointers
from gtm_assets.engines.reading_copy import Fetched, reading_copy
from gtm_assets.engines.spark import CATALOGUE, dbt_environment, examine_java, examine_master, jars
from gtm_assets.engines.spark_raw import add_lake, catalogue_of, follow_compaction
from gtm_assets.engines.spark_session import lock_until_its_end, outwait, refuse_bad_casts
from gtm_assets.lake.reader import LakeReader

BUILT = ("staging", "intermediate", "core", "mart", "certified", "meta")
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
_AWAY: tuple[type[Exception], ...] = (OperationalError, InterfaceError, *AWAY)
_REFUSED: tuple[type[Exception], ...] = (SQLAlchemyError, *REFUSED)


class _Connection:
    """Spark's session of this process, which dbt has begun."""

    def __init__(self, prefix: str, lock: Path) -> None:
        from pyspark.sql import SparkSession

        lock_until_its_end(lock)
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
        # Where a catalogue has no views, dbt makes tables in their place.
        kind = {"GTM_SPARK_CATALOG_TYPE": self.warehouse.kind}
        return {"GTM_ENGINE": self.name, "GTM_SCHEMA_PREFIX": self.schema_prefix, **kind}

    @override
    def examine(self) -> None:
        """Ask whether Java, the jars, Spark's master and a catalogue that is known are there."""
        jars()
        examine_java()
        examine_master(self._resources[0])
        with self._asked() as catalogue:
            self._refuse_another_catalogue(catalogue)

    @override
    def prepare(self) -> None:
        self.examine()

    @override
    def exists(self) -> bool:
        return ("gtm_meta", "built_models") in self.relations()

    @override
    def bring_lake(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        with self._asked() as catalogue:
            add_lake(catalogue, lake, tables, self.schema_prefix)
            if isinstance(catalogue, SqlCatalog):
                claim(catalogue, self.schema_prefix)
            else:
                # dbt asks what is in them before it makes them, which Glue refuses.
                for layer in BUILT:
                    catalogue.create_namespace_if_not_exists(f"{self.schema_prefix}{layer}")

    @override
    def follow_compaction(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:
        with self._asked() as catalogue:
            follow_compaction(catalogue, lake, tables, self.schema_prefix)

    @override
    def ready_dbt(self) -> None:
        refuse_bad_casts()

    @override
    def connect(self) -> _Connection:
        return _Connection(self.schema_prefix, self._lock)

    @property
    def _lock(self) -> Path:
        return self.path.with_suffix(".jvm.lock")

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

    def catalogue(self) -> Catalog:
        """The catalogue, as PyIceberg reads and writes it."""
        return catalogue_of(self.warehouse)

    @contextmanager
    def _asked(self, session: str = "gtm") -> Iterator[Catalog]:
        """The catalogue, for a block that asks its database; ``session`` is what its sessions say that they are.

        Raises:
            EngineAway: the database does not answer.
            EngineError: it refuses what it was asked.
        """
        try:
            catalogue = catalogue_of(self.warehouse, session)
            try:
                yield catalogue
            finally:
                catalogue.close()
        except _AWAY as error:
            raise EngineAway(
                f"the catalogue of Iceberg at {self.warehouse.place} can't be reached ({_said(error)}). "
                "Start it, or mend GTM_SPARK_CATALOG, _USER or _PASSWORD"
            ) from error
        except _REFUSED as error:
            raise EngineError(
                f"the catalogue of Iceberg at {self.warehouse.place} refuses it ({_said(error)})"
            ) from error

    def pointers(self, published: bool = False) -> dict[tuple[str, str], tuple[str, str]]:
        """By schema, ``gtm_<layer>``, and name the kind of each table and view, and where its metadata lie.

        Of what is built, or of what is ``published``: read at once, as one publication left it.

        Raises:
            EngineAway: the catalogue's database does not answer.
        """
        if published:
            layers = {f"{self.schema_prefix}published_{layer}": f"gtm_{layer}" for layer in LAYERS}
        else:
            layers = {f"{self.schema_prefix}{layer}": f"gtm_{layer}" for layer in BUILT}
        rows: Any
        with self._asked() as catalogue:
            if isinstance(catalogue, SqlCatalog):
                with catalogue.engine.connect() as connection:
                    rows = connection.execute(
                        text(
                            "select table_namespace, table_name, iceberg_type, metadata_location"
                            " from iceberg_tables where catalog_name = :name"
                        ),
                        {"name": CATALOGUE},
                    ).all()
            else:
                rows = list(pointers(catalogue, layers))
        return {
            (layers[schema], table): (kind or "TABLE", location)
            for schema, table, kind, location in rows
            if schema in layers
        }

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
        with self._asked() as catalogue:
            ledger = catalogue.load_table(f"{self.schema_prefix}meta.consumed_batches")
        return set(ledger.scan(selected_fields=("batch_id",)).to_arrow()["batch_id"].to_pylist())

    @override
    @contextmanager
    def held(self, purpose: str, say: Say) -> Iterator[None]:
        """Of a catalogue in PostgreSQL hold an advisory lock; that of one in a file is the state folder's own.

        A catalogue by REST or Glue has none: one machine is to build there. The Spark of a build that was killed
        has ended, too.
        """
        outwait(self._lock)
        with self._asked(f"gtm: {purpose}") as catalogue:
            connection = None
            if isinstance(catalogue, SqlCatalog) and catalogue.engine.dialect.name == "postgresql":
                connection = catalogue.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                # Closed it would go back to a pool, and its lock with it.
                connection.detach()
                take_lock(
                    lambda query: connection.exec_driver_sql(query).all(), f"{CATALOGUE} {self.schema_prefix}", say
                )
        with closing(connection) if connection else nullcontext():
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
        with self._asked() as catalogue:
            iceberg = catalogue.load_table((f"{self.schema_prefix}{schema.removeprefix('gtm_')}", table))
        columns = {field.name: our_type(field.field_type) for field in iceberg.schema().fields}
        return Fetched(columns, iceberg.scan().to_arrow_batch_reader())

    # -- what people read ----------------------------------------------------------------------------------------

    @override
    def publish(self, said: Path, comments: Mapping[str, Table]) -> None:
        """Point the published schemas at core and mart, in one transaction of the catalogue's database.

        By REST or Glue there is none: each table is tagged instead.

        Raises:
            EngineError: the catalogue's table is not the one that is known, or somebody has changed a table
                meanwhile. Readers see what they saw before.
        """
        with self._asked() as catalogue:
            self._refuse_another_catalogue(catalogue)
            by = Publishing if isinstance(catalogue, SqlCatalog) else Tagging
            publishing = by(catalogue, self.schema_prefix)
            try:
                for schema, table in sorted(self.tables()):
                    layer = schema.removeprefix("gtm_")
                    if layer in PUBLISHED and (described := comments.get(f"{schema}.{table}")):
                        publishing.add(layer, table, described)
                publishing.say(said)
            except CommitFailedException as error:
                raise EngineError(
                    f"{self.place}: somebody has changed a table while it was published ({error}). Readers see "
                    "what they saw before. Run again: gtm run"
                ) from error
            publishing.point()

    def _refuse_another_catalogue(self, catalogue: Catalog) -> None:
        if not isinstance(catalogue, SqlCatalog):
            return
        with catalogue.engine.connect() as connection:
            found = {*connection.execute(text("select * from iceberg_tables where 1 = 0")).keys()}
        if found != COLUMNS:
            raise EngineError(
                f"the catalogue of Iceberg at {self.warehouse.place} has a table iceberg_tables of other columns "
                f"than Iceberg's JDBC catalogue V1 ({', '.join(sorted(found ^ COLUMNS))}). Take another database: "
                "GTM_SPARK_CATALOG"
            )

    @override
    def expire(self, before: datetime) -> Expired:
        """Of a catalogue by REST or Glue files stay: which of them its other tables need is not known here."""
        with self._asked() as catalogue:
            if isinstance(catalogue, SqlCatalog):
                return expire(catalogue, self.schema_prefix, before)
            return let_go(catalogue, self.schema_prefix, before)

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


def _said(error: Exception) -> str:
    """What the driver said, in one line."""
    return str(error).splitlines()[0]
