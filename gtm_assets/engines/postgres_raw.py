"""The lake in PostgreSQL: a table of schema gtm_raw for each raw table, and gtm_meta.lake_batches, their list.

Both schemas begin with the prefix of their environment, which is ``gtm_`` in production.

The lake's files stay the truth. What lies in the database is a copy of them: batches that have come are added,
those that are gone are removed, and a table whose columns are not the catalogue's any more is made and filled
again. All of it is one transaction, so that a reader sees the lake as it was or as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.engines.engine import EngineError
from gtm_assets.engines.files import literal
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.lake.files import Batch, by_file
from gtm_assets.lake.reader import LakeReader
from gtm_assets.partitions import end_of

_TYPES = {"double": "double precision"}
"""Names of types that PostgreSQL calls otherwise."""
_KNOWN_AS = {
    "character varying": "varchar",
    "text": "varchar",
    "double precision": "double",
    "timestamp without time zone": "timestamp",
}
"""PostgreSQL's names of types, by ours."""


class PostgresError(EngineError):
    """PostgreSQL could not take what the lake holds. The message names the table and what to do."""


@dataclass(frozen=True)
class Copied:
    """What was done for a raw table."""

    table: str
    batches: int
    """That have come."""
    rows: int
    removed: int
    """Batches that are gone from the lake."""


def table_name(table: RawTable) -> str:
    """The table of gtm_raw that holds a raw table's batches."""
    return f"{table.source}__{table.name}"


def copy_lake(
    connection: dbapi.Connection, lake: LakeReader, tables: Sequence[RawTable], prefix: str = "gtm_"
) -> list[Copied]:
    """Bring the tables of gtm_raw to what the lake holds of these, and list their batches; commit.

    A column that the catalogue does not have is text.

    Raises:
        LakeError: a file of the lake can't be read.
        PostgresError: the database refuses what a table holds. Nothing is changed then.
    """
    try:
        with connection.cursor() as cursor:
            copied = _Copying(cursor, lake, prefix).copy(tables)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return [one for one in copied if one.batches or one.removed]


def follow_compaction(
    connection: dbapi.Connection, lake: LakeReader, tables: Sequence[RawTable], prefix: str = "gtm_"
) -> None:
    """List the batches by the files in which the lake has them now; commit. No batch comes or goes."""
    batches = [batch for table in tables for batch in lake.batches(table)]
    paths = pa.table(
        {"batch_id": [batch.batch_id for batch in batches], "file_path": [str(batch.path) for batch in batches]}
    )
    with connection.cursor() as cursor:
        cursor.adbc_ingest("gtm_paths", paths, mode="create", temporary=True)
        cursor.execute(
            f"update {prefix}meta.lake_batches as listed set file_path = gtm_paths.file_path from gtm_paths"
            " where listed.batch_id = gtm_paths.batch_id and listed.file_path <> gtm_paths.file_path"
        )
        cursor.execute("drop table gtm_paths")
    connection.commit()


class _Copying:
    """The copying of a lake in one transaction."""

    def __init__(self, cursor: dbapi.Cursor, lake: LakeReader, prefix: str) -> None:
        self._cursor, self._lake = cursor, lake
        self._raw, self._meta = f"{prefix}raw", f"{prefix}meta"
        self._list = f"{self._meta}.lake_batches"

    def copy(self, tables: Sequence[RawTable]) -> list[Copied]:
        """Copy these tables; of others nothing is listed any more: a source that is off counts as not there."""
        self._make()
        held = self._held()
        copied = [self._copy(table, held.get(table.qualified_name, {})) for table in tables]
        self._cursor.execute(
            f"delete from {self._list} where source_name || '.' || table_name <> all($1)",
            ([table.qualified_name for table in tables],),
        )
        return copied

    def _make(self) -> None:
        self._cursor.execute(f"create schema if not exists {self._raw}")
        self._cursor.execute(f"create schema if not exists {self._meta}")
        self._cursor.execute(
            f"create table if not exists {self._list} (source_name varchar not null, table_name varchar not null, "
            "partition_key varchar not null, batch_id varchar not null, file_path varchar not null, "
            "read_until timestamp with time zone not null)"
        )
        # Two builds do not copy at once; the lock goes with the transaction.
        self._cursor.execute(f"lock table {self._list} in exclusive mode")

    def _held(self) -> dict[str, dict[str, str]]:
        """The batches that the database holds: by table, by batch id the partition."""
        self._cursor.execute(f"select source_name || '.' || table_name, batch_id, partition_key from {self._list}")
        found: dict[str, dict[str, str]] = {}
        for table, batch_id, partition in self._cursor.fetchall():
            found.setdefault(table, {})[batch_id] = partition
        return found

    def _copy(self, table: RawTable, held: Mapping[str, str]) -> Copied:
        batches = self._lake.batches(table)
        columns = self._columns(table)
        if columns is None:
            columns, held = self._made(table), {}
        there = {batch.batch_id for batch in batches}
        gone = held.keys() - there
        if gone:
            self._cursor.execute(
                f"delete from {self._raw}.{table_name(table)} where _batch_id = any($1)", (sorted(gone),)
            )
        come = [batch for batch in batches if batch.batch_id not in held]
        rows = self._append(table, columns, come) if come else 0
        self._list_batches(table, batches)
        return Copied(table.qualified_name, len(come), rows, len(gone))

    def _columns(self, table: RawTable) -> dict[str, str] | None:
        """The columns of a table of gtm_raw with their types; None where the catalogue says otherwise."""
        found = columns_of(self._cursor, self._raw, table_name(table))
        fits = found and all(found.get(name) == type_ for name, type_ in _wanted(table).items())
        return found if fits else None

    def _made(self, table: RawTable) -> dict[str, str]:
        wanted = _wanted(table)
        name = f"{self._raw}.{table_name(table)}"
        listed = ", ".join(f'"{column}" {_TYPES.get(type_, type_)}' for column, type_ in wanted.items())
        self._cursor.execute(f"drop table if exists {name} cascade")
        self._cursor.execute(f"create table {name} ({listed})")
        self._cursor.execute(f"create index on {name} (_batch_id)")
        return wanted

    def _append(self, table: RawTable, columns: Mapping[str, str], batches: Sequence[Batch]) -> int:
        """Add the rows of batches, by binary COPY; columns that the table lacks come, as text."""
        name = table_name(table)
        files = by_file(batches)
        with self._lake.cursor() as db, self._lake.reading(files):
            db.register("come", pa.table({"_batch_id": [batch.batch_id for batch in batches]}))
            rows = db.sql(
                "from read_parquet($paths, union_by_name = true, hive_partitioning = false) "
                "semi join come using (_batch_id)",
                params={"paths": [str(path) for path in files]},
            )
            known = {c: t for c, t in columns.items() if c in rows.columns}
            types = dict.fromkeys(rows.columns, "varchar") | known
            for column in types.keys() - columns.keys():
                self._cursor.execute(f'alter table {self._raw}.{name} add column "{column}" varchar')
            cast = ", ".join(f'cast("{column}" as {type_}) as "{column}"' for column, type_ in types.items())
            try:
                records = rows.project(cast).to_arrow_reader(50_000)
                return int(self._cursor.adbc_ingest(name, records, mode="append", db_schema_name=self._raw))
            except dbapi.Error as error:
                raise PostgresError(
                    f"{table.qualified_name} {_span(batches)}: PostgreSQL refused the records ({error}). "
                    f"Nothing was changed; mend it and run again"
                ) from error

    def _list_batches(self, table: RawTable, batches: Sequence[Batch]) -> None:
        """List a table's batches anew, with up to when each partition was read."""
        self._cursor.execute(
            f"delete from {self._list} where source_name = $1 and table_name = $2", (table.source, table.name)
        )
        if not batches:
            return
        early = self._lake.landed_early(table)
        rows = pa.table(
            {
                "source_name": [table.source] * len(batches),
                "table_name": [table.name] * len(batches),
                "partition_key": [batch.partition for batch in batches],
                "batch_id": [batch.batch_id for batch in batches],
                "file_path": [str(batch.path) for batch in batches],
                "read_until": pa.array(
                    [early.get(batch.partition, end_of(batch.partition)) for batch in batches],
                    pa.timestamp("us", "UTC"),
                ),
            }
        )
        self._cursor.adbc_ingest("lake_batches", rows, mode="append", db_schema_name=self._meta)


def columns_query(relation: str) -> str:
    """The query for names and PostgreSQL's types of a relation's columns, in their order.

    It gives no row where the relation is not there.
    """
    return (
        "select attname, format_type(atttypid, atttypmod) from pg_attribute where attnum > 0 and not attisdropped "
        f"and attrelid = to_regclass({literal(relation)}) order by attnum"
    )


def columns_of(cursor: dbapi.Cursor, schema: str, table: str) -> dict[str, str]:
    """The columns of a table or view with their types by our names, in their order; none where it is not there."""
    cursor.execute(columns_query(f'"{schema}"."{table}"'))
    return {name: _KNOWN_AS.get(type_, type_).replace("numeric", "decimal") for name, type_ in cursor.fetchall()}


def _wanted(table: RawTable) -> dict[str, str]:
    types = {column.name: column.type for column in table.columns} | LOADER_COLUMNS
    return {name: type_.sql for name, type_ in types.items()}


def _span(batches: Iterable[Batch]) -> str:
    partitions = sorted({batch.partition for batch in batches})
    return partitions[0] if len(partitions) == 1 else f"{partitions[0]} to {partitions[-1]}"
