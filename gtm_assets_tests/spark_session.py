"""Spark on Iceberg tables in the tests' own process, whose tables go with the folder that they lie in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunnerResult

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.engines.files import connect
from gtm_assets.engines.iceberg_catalog import CatalogueError, Warehouse
from gtm_assets.engines.spark import dbt_environment, jars
from gtm_assets.engines.spark_session import refuse_bad_casts
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets.sources.registry import raw_tables
from gtm_assets_tests.dbt_harness import BOOKKEEPING, Home
from gtm_assets_tests.needs import needs
from gtm_assets_tests.postgres_tables import duckdb_rows

SCHEMAS = ("gtm_staging", "gtm_intermediate", "gtm_core", "gtm_mart")


def missing() -> str | None:
    """What is missing for tests with Spark, as a reason to skip them."""
    if any(find_spec(name) is None for name in ("pyspark", "pyiceberg", "dbt.adapters.spark")):
        return "the extra spark is not installed: make setup-spark"
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        return "Java is not installed"
    try:
        jars()
    except CatalogueError as error:
        return str(error)
    return None


needs_spark = needs(missing())


class SparkHome(Home):
    """A home whose warehouse is Iceberg tables, which have what the lake holds before each of dbt's commands."""

    def __init__(
        self,
        path: Path,
        lake: Path | None = None,
        tables: Sequence[RawTable] | None = None,
        place: Warehouse | None = None,
    ) -> None:
        self.place = place or Warehouse.of(path)
        super().__init__(path, engine=dbt_environment(self.place, master="local[2]", partitions=2))
        self.lake = Lake(lake) if lake else self.lake
        self.tables = raw_tables(load_settings()) if tables is None else tables

    def dbt(self, *arguments: str, **given: Any) -> dbtRunnerResult:
        from gtm_assets.engines.spark_raw import add_lake, catalogue_of

        refuse_bad_casts()
        add_lake(catalogue_of(self.place), self.lake, self.tables)
        return super().dbt(*arguments, **given)

    def rows(self, query: str) -> list[tuple]:
        return [tuple(row) for row in session().sql(query).collect()]


def session() -> Any:
    """The session that dbt has begun."""
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


def differing(warehouse: Path, names: Sequence[str] | None = None) -> tuple[int, dict[str, Any]]:
    """How many tables Spark has been compared of with a warehouse of DuckDB, and those whose rows differ.

    Of each such table it says how many rows are in one alone, with an example of each. Columns that say how a row
    came are not compared. ``names`` are those of some tables; by default all of both are compared.
    """
    with closing(connect(warehouse)) as db:
        columns = db.execute(
            "select schema_name, table_name, column_name from duckdb_columns() "
            "where list_contains($1, schema_name) order by all",
            [list(SCHEMAS)],
        ).fetchall()
        tables: dict[str, list[str]] = {}
        for schema, table, column in columns:
            if column not in BOOKKEEPING and (names is None or table in names):
                tables.setdefault(f"{schema}.{table}", []).append(column)
        found = {}
        for name, chosen in tables.items():
            listed = ", ".join(f'"{column}"' for column in chosen)
            ours = db.sql(f"select {listed} from {name}").to_arrow_table()
            theirs = session().table(name).select(*chosen).toArrow()
            one, other = duckdb_rows(theirs, ours)
            if one or other:
                found[name] = (len(one), len(other), one[:1], other[:1])
    return len(tables), found
