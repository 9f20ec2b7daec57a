"""Reads of tables in PostgreSQL, and how they compare with those of a DuckDB file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gtm_assets.engines.files import connect
from gtm_assets_tests.dbt_harness import BOOKKEEPING

SCHEMAS = ("gtm_staging", "gtm_intermediate", "gtm_core", "gtm_mart")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    from adbc_driver_postgresql import dbapi

    with closing(dbapi.connect(address)) as connection, closing(connection.cursor()) as cursor:
        yield cursor


def query(cursor: Any, sql: str) -> list[tuple]:
    cursor.execute(sql)
    return cursor.fetchall()


def fetched(cursor: Any, table: str) -> pa.Table:
    cursor.execute(f"select * from {table}")
    return cursor.fetch_arrow_table()


def duckdb_rows(one: pa.Table, other: pa.Table) -> tuple[list[tuple], list[tuple]]:
    """The rows that are in one of two tables alone; decimals of PostgreSQL come as texts."""
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        db.register("one", one)
        db.register("other", other)
        types = dict(db.execute("select column_name, column_type from (describe other)").fetchall())
        cast = ", ".join(f'cast("{name}" as {type_}) as "{name}"' for name, type_ in types.items())
        ones, others = f"select {cast} from one", f"select {cast} from other"
        return (
            db.execute(f"{ones} except all {others}").fetchall(),
            db.execute(f"{others} except all {ones}").fetchall(),
        )


def differing(
    address: str,
    warehouse: Path,
    more_than: int,
    schemas: Sequence[str] = SCHEMAS,
    places: str = "gtm",
) -> dict[str, tuple[int, int]]:
    """The tables whose rows differ on PostgreSQL and in a file of DuckDB, with how many do each way.

    Columns that say how a row came are not compared. There are ``more_than`` so many tables; on PostgreSQL their
    schemas begin with ``places`` in place of gtm.
    """
    found = {}
    with connected(address) as cursor, closing(connect(warehouse)) as db:
        columns = db.execute(
            "select schema_name, table_name, column_name from duckdb_columns() "
            "where list_contains($1, schema_name) order by all",
            [list(schemas)],
        ).fetchall()
        names: dict[str, list[str]] = {}
        for schema, table, column in columns:
            if column not in BOOKKEEPING:
                names.setdefault(f"{schema}.{table}", []).append(f'"{column}"')
        for table, chosen in names.items():
            cursor.execute(f"select {', '.join(chosen)} from {table.replace('gtm', places, 1)}")
            ours = db.sql(f"select {', '.join(chosen)} from {table}").to_arrow_table()
            one, other = duckdb_rows(cursor.fetch_arrow_table(), ours)
            if one or other:
                found[table] = (len(one), len(other))
    assert len(names) > more_than
    return found
