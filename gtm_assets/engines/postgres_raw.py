"""The lake in PostgreSQL: a table of schema gtm_raw for each raw table, and gtm_meta.lake_batches, their list.

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
from gtm_assets.errors import GtmError
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.lake.files import Batch, by_file
from gtm_assets.lake.reader import LakeReader, duckdb_cursor
from gtm_assets.partitions import end_of

SCHEMA = "gtm_raw"
LIST = "gtm_meta.lake_batches"
_TYPES = {"double": "double precision"}
"""Names of types that PostgreSQL calls otherwise."""
_KNOWN_AS = {"character varying": "varchar", "text": "varchar", "double precision": "double"}
"""PostgreSQL's names of types, by ours."""


class PostgresError(GtmError):
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


def copy_lake(connection: dbapi.Connection, lake: LakeReader, tables: Sequence[RawTable]) -> list[Copied]:
    """Bring the tables of gtm_raw to what the lake holds of these, and list their batches; commit.

    A column that the catalogue does not have is text.

    Raises:
        LakeError: a file of the lake can't be read.
        PostgresError: the database refuses what a table holds. Nothing is changed then.
    """
    try:
        with connection.cursor() as cursor:
            _make(cursor)
            listed = _listed(cursor)
            copied = [_copy(cursor, lake, table, listed.get(table.qualified_name, {})) for table in tables]
            _forget_others(cursor, tables)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return [one for one in copied if one.batches or one.removed]


def _make(cursor: dbapi.Cursor) -> None:
    cursor.execute(f"create schema if not exists {SCHEMA}")
    cursor.execute("create schema if not exists gtm_meta")
    cursor.execute(
        f"create table if not exists {LIST} (source_name varchar not null, table_name varchar not null, "
        "partition_key varchar not null, batch_id varchar not null, file_path varchar not null, "
        "read_until timestamp with time zone not null)"
    )
    # Two builds do not copy at once; the lock goes with the transaction.
    cursor.execute(f"lock table {LIST} in exclusive mode")


def _listed(cursor: dbapi.Cursor) -> dict[str, dict[str, str]]:
    """The batches that the database holds: by table, by batch id the partition."""
    cursor.execute(f"select source_name || '.' || table_name, batch_id, partition_key from {LIST}")
    found: dict[str, dict[str, str]] = {}
    for table, batch_id, partition in cursor.fetchall():
        found.setdefault(table, {})[batch_id] = partition
    return found


def _copy(cursor: dbapi.Cursor, lake: LakeReader, table: RawTable, held: Mapping[str, str]) -> Copied:
    batches = lake.batches(table)
    columns = _columns(cursor, table)
    if columns is None:
        columns, held = _made(cursor, table), {}
    there = {batch.batch_id for batch in batches}
    gone = held.keys() - there
    if gone:
        cursor.execute(f"delete from {SCHEMA}.{table_name(table)} where _batch_id = any($1)", (sorted(gone),))
    come = [batch for batch in batches if batch.batch_id not in held]
    rows = _append(cursor, lake, table, columns, come) if come else 0
    _list(cursor, lake, table, batches)
    return Copied(table.qualified_name, len(come), rows, len(gone))


def _columns(cursor: dbapi.Cursor, table: RawTable) -> dict[str, str] | None:
    """The columns of a table of gtm_raw with their types; None where the catalogue says otherwise."""
    cursor.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        f"where attrelid = to_regclass('{SCHEMA}.{table_name(table)}') and attnum > 0 and not attisdropped"
    )
    found = {name: _KNOWN_AS.get(type_, type_).replace("numeric", "decimal") for name, type_ in cursor.fetchall()}
    fits = found and all(found.get(name) == type_ for name, type_ in _wanted(table).items())
    return found if fits else None


def _wanted(table: RawTable) -> dict[str, str]:
    types = {column.name: column.type for column in table.columns} | LOADER_COLUMNS
    return {name: type_.sql for name, type_ in types.items()}


def _made(cursor: dbapi.Cursor, table: RawTable) -> dict[str, str]:
    wanted = _wanted(table)
    name = f"{SCHEMA}.{table_name(table)}"
    listed = ", ".join(f'"{column}" {_TYPES.get(type_, type_)}' for column, type_ in wanted.items())
    cursor.execute(f"drop table if exists {name} cascade")
    cursor.execute(f"create table {name} ({listed})")
    cursor.execute(f"create index on {name} (_batch_id)")
    return wanted


def _append(
    cursor: dbapi.Cursor, lake: LakeReader, table: RawTable, columns: Mapping[str, str], batches: Sequence[Batch]
) -> int:
    """Add the rows of batches, by binary COPY; columns that the table lacks come, as text."""
    name = table_name(table)
    files = by_file(batches)
    with duckdb_cursor() as db, lake.reading(files):
        db.register("come", pa.table({"_batch_id": [batch.batch_id for batch in batches]}))
        rows = db.sql(
            "from read_parquet($paths, union_by_name = true, hive_partitioning = false) "
            "semi join come using (_batch_id)",
            params={"paths": [str(path) for path in files]},
        )
        types = dict.fromkeys(rows.columns, "varchar") | {c: t for c, t in columns.items() if c in rows.columns}
        for column in types.keys() - columns.keys():
            cursor.execute(f'alter table {SCHEMA}.{name} add column "{column}" varchar')
        cast = ", ".join(f'cast("{column}" as {type_}) as "{column}"' for column, type_ in types.items())
        try:
            records = rows.project(cast).to_arrow_reader(50_000)
            return int(cursor.adbc_ingest(name, records, mode="append", db_schema_name=SCHEMA))
        except dbapi.Error as error:
            raise PostgresError(
                f"{table.qualified_name} {_span(batches)}: PostgreSQL refused the records ({error}). "
                f"Nothing was changed; mend it and run again"
            ) from error


def _span(batches: Iterable[Batch]) -> str:
    partitions = sorted({batch.partition for batch in batches})
    return partitions[0] if len(partitions) == 1 else f"{partitions[0]} to {partitions[-1]}"


def _list(cursor: dbapi.Cursor, lake: LakeReader, table: RawTable, batches: Sequence[Batch]) -> None:
    """List a table's batches anew, with up to when each partition was read."""
    cursor.execute(f"delete from {LIST} where source_name = $1 and table_name = $2", (table.source, table.name))
    if not batches:
        return
    early = lake.landed_early(table)
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
    cursor.adbc_ingest("lake_batches", rows, mode="append", db_schema_name="gtm_meta")


def _forget_others(cursor: dbapi.Cursor, tables: Sequence[RawTable]) -> None:
    """What is listed of tables that are not landed any more goes: a source that is off counts as not there."""
    cursor.execute(
        f"delete from {LIST} where source_name || '.' || table_name <> all($1)",
        ([table.qualified_name for table in tables],),
    )
