"""External databases as another loader would leave them: DuckDB files with raw tables in schema ``gtm_raw``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import duckdb

from gtm_assets.catalog.raw_table import Column, RawTable
from gtm_assets.sources.salesforce.catalog import OBJECTS


def snake_case(column: Column) -> str:
    """Fivetran's own names."""
    return column.name


def api_style(column: Column) -> str:
    """Salesforce's names: StageName."""
    return column.api_name or column.name


def load_current(
    path: Path,
    lake: Path,
    named: Callable[[Column], str] = snake_case,
    missing: Iterable[str] = (),
    without: Mapping[str, Iterable[str]] | None = None,
) -> Path:
    """Land the newest version of each record of a lake: one row per id, deletes marked.

    ``missing`` tables are not there; ``without`` names columns per table that are not.
    """
    with _writer(path) as connection:
        for table in OBJECTS:
            if table.name in missing:
                continue
            left_out = set((without or {}).get(table.name, ()))
            columns = ", ".join(
                f'{column.name} as "{named(column)}"' for column in table.columns if column.name not in left_out
            )
            name = table.api_name if named is api_style else table.name
            connection.execute(
                f'create table gtm_raw."{name}" as'
                f" select {columns}, _known_at - interval 1 second as _fivetran_synced"
                f" from ({_versions(lake, table)}) where _recency = 1"
            )
    return path


def load_history(path: Path, lake: Path) -> Path:
    """Land all versions of each record of a lake in history mode.

    As there, a record that a full extraction no longer finds is not marked: its last version has ended.
    """
    with _writer(path) as connection:
        for table in OBJECTS:
            columns = ", ".join(c.name for c in table.columns if c.name != "_fivetran_deleted")
            gone = "_fivetran_deleted" if "_fivetran_deleted" in table.types else "false"
            connection.execute(
                f"create table gtm_raw.{table.name} as"
                f" select {columns}, _fivetran_synced, _fivetran_start, _fivetran_active,"
                " coalesce(_next_start, timestamptz '9999-12-31 00:00:00+00') as _fivetran_end"
                " from (select * exclude (_fivetran_synced), _known_at - interval 1 second as _fivetran_synced,"
                f" {table.cursor} as _fivetran_start, _recency = 1 as _fivetran_active,"
                f" lag({table.cursor}) over (partition by id order by _recency) as _next_start,"
                f" {gone} as _gone from ({_versions(lake, table)})) where not coalesce(_gone, false)"
            )
    return path


def _versions(lake: Path, table: RawTable) -> str:
    """All versions of a table of the lake, each where it first came in, numbered from the newest."""
    files = f"{lake}/{table.source}/{table.name}/partition=*/*.parquet"
    types = ", ".join(f"null::{column.type.sql} as {column.name}" for column in table.columns)
    return (
        f"select *, row_number() over (partition by id order by {table.cursor} desc, partition desc,"
        f" coalesce({table.deletes.value}, false) desc, _version_hash desc) as _recency"
        f" from (select {types}, null::varchar as partition where false union all by name"
        f" select * from read_parquet('{files}', union_by_name = true, hive_partitioning = true,"
        " hive_types = {partition: varchar})"
        " qualify row_number() over (partition by _version_hash order by partition, _batch_id) = 1)"
    )


class _writer:
    """A connection that writes an external database; closed at the end, so that others can read it."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._connection = duckdb.connect(str(path))
        self._connection.execute("set TimeZone = 'UTC'")
        self._connection.execute("create schema gtm_raw")

    def __enter__(self) -> duckdb.DuckDBPyConnection:
        return self._connection

    def __exit__(self, *_) -> None:
        self._connection.close()


SAMPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "fivetran_landing"
"""Tables that Fivetran loaded from real organisations, values scrambled: where this machine has them."""


def load_sample(path: Path) -> Path:
    """The sample in the types that Fivetran gave it."""
    types = json.loads((SAMPLE / "_schema.json").read_text())
    with _writer(path) as connection:
        for file in sorted(SAMPLE.glob("*.csv")):
            columns = ", ".join(f"'{name}': '{type_}'" for name, type_ in types[file.stem])
            connection.execute(
                f'create table gtm_raw."{file.stem}" as'
                f" from read_csv('{file}', header = true, types = {{{columns}}}, nullstr = '')"
            )
    return path
