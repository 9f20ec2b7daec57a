"""The published file as pages read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from gtm_assets.dbt.project import project_variables
from gtm_assets.engines.files import connect
from gtm_assets.reporting.rows import Column, ReportError, Rows


@dataclass(frozen=True)
class About:
    """What the published file says of itself."""

    run_id: str
    published_at: datetime
    as_of: datetime
    checks_passed: int
    checks_warned: int
    first_partition: str | None
    """Key of the first partition that has landed; None where another loader fills all tables."""


@dataclass(frozen=True)
class Published:
    """The published file, open for reading."""

    connection: duckdb.DuckDBPyConnection

    @cached_property
    def about(self) -> About:
        """What it says of itself."""
        ((run_id, published_at, as_of, *others),) = self.values(
            "select run_id, published_at, as_of, checks_passed, checks_warned, first_partition"
            " from gtm_meta.publication"
        )
        return About(run_id, published_at.astimezone(UTC), as_of.astimezone(UTC), *others)

    @cached_property
    def currency(self) -> str:
        """Code of the currency of all amounts; empty where nothing says it."""
        if code := project_variables()["reporting_currency"]:
            return str(code)
        # Without a currency to convert to, a build refuses more than one.
        codes = self.values(
            "select distinct currency_iso_code from gtm_core.fct_opportunity where amount is not null"
        )
        known = [code for (code,) in codes if code]
        return known[0] if len(known) == 1 else ""

    def rows(self, name: str, query: str, *columns: Column, report: str = "", written_anew: bool = True) -> Rows:
        """What a query gives; its columns in the order of ``columns``.

        Raises:
            ReportError: the query fails, or gives other columns.
        """
        try:
            result = self.connection.execute(query)
        except duckdb.Error as error:
            raise ReportError(f"the rows {name!r} of a report page can't be read: {error}") from error
        given = [column[0] for column in result.description or []]
        if given != [column.name for column in columns]:
            raise ReportError(f"the rows {name!r} of a report page have the columns {', '.join(given)}")
        return Rows(name, columns, result.fetchall(), query, report, written_anew)

    def values(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a small query."""
        return self.connection.execute(query).fetchall()

    def has(self, table: str) -> bool:
        """Whether the file holds ``schema.table``."""
        schema, name = table.split(".")
        return bool(
            self.connection.execute(
                "select 1 from duckdb_tables() where schema_name = ? and table_name = ?", [schema, name]
            ).fetchall()
        )

    def descriptions(self, table: str, columns: Sequence[str]) -> dict[str, str]:
        """What is said of these columns of ``schema.table``."""
        schema, name = table.split(".")
        found = self.connection.execute(
            "select column_name, comment from duckdb_columns() where schema_name = ? and table_name = ?"
            " and comment is not null",
            [schema, name],
        ).fetchall()
        return {column: comment for column, comment in found if column in columns}


@contextmanager
def open_published(path: Path) -> Iterator[Published]:
    """The published file. One that replaces it meanwhile is not read.

    Raises:
        ReportError: there is none, or it can't be read.
    """
    if not path.exists():
        raise ReportError(f"nothing is published at {path} yet. Build it: gtm run")
    try:
        with connect(path) as connection:
            yield Published(connection)
    except duckdb.IOException as error:
        raise ReportError(f"{path} can't be read: {error}") from error
