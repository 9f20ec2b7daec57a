"""Readers of the published Iceberg tables: PyIceberg, DuckDB and Trino see the published file's types and rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import connect
from gtm_assets.engines.iceberg_catalog import Warehouse
from gtm_assets_tests import postgres_server, trino_server
from gtm_assets_tests.postgres_tables import duckdb_rows
from gtm_assets_tests.spark_session import SparkHome, needs_spark, session
from gtm_assets_tests.test_published_versions import UV

pytestmark = [
    needs_spark,
    pytest.mark.nightly,
    pytest.mark.skipif(
        postgres_server.programs() is None and not os.environ.get("CI"), reason="PostgreSQL is not installed"
    ),
]

EARLIER = ("duckdb==1.5.5", "duckdb-extension-avro==1.5.5", "duckdb-extension-iceberg==1.5.5", "pyarrow", "pytz")
"""The newest release of DuckDB whose extension for Iceberg is a Python package; our own's is not."""
SCAN = """
import duckdb, duckdb_extension_avro, duckdb_extension_iceberg, json, pathlib, sys
with duckdb.connect() as db:
    db.execute("set TimeZone = 'UTC'")
    for package in (duckdb_extension_avro, duckdb_extension_iceberg):
        [file] = pathlib.Path(package.__file__).parent.rglob("*.duckdb_extension")
        db.execute(f"load '{file}'")
    for table, location in json.loads(sys.argv[1]).items():
        db.sql(f"select * from iceberg_scan('{location}')").write_parquet(f"{sys.argv[2]}/{table}.parquet")
"""


@dataclass(frozen=True)
class Published:
    """What Spark's writers have written of a published file, and where it is published."""

    file: Path
    engine: Any
    types: Mapping[str, Mapping[str, str]]
    """By schema.table its columns' types, in DuckDB's names."""


@pytest.fixture(scope="module")
def published(built_home, tmp_path_factory) -> Iterator[Published]:
    """The tables of core and mart written by Spark, and published in a catalogue that lies in PostgreSQL."""
    from gtm_assets.engines.iceberg import Spark

    folder = tmp_path_factory.mktemp("readers")
    with postgres_server.running() as address:
        place = Warehouse(f"jdbc:{address.replace('gtm@', '')}", f"file://{folder / 'tables'}", "gtm")
        home = SparkHome(folder / "home", tables=[], place=place)
        assert home.dbt("show", "--inline", "select 1").success
        comments = {}
        with closing(connect(built_home.published)) as db:
            types = types_of(db)
            for table in types:
                schema, _ = table.split(".")
                if schema in ("gtm_core", "gtm_mart"):
                    rows = folder / f"{table}.parquet"
                    db.sql(f"select * from {table}").write_parquet(str(rows))
                    session().sql(f"create schema if not exists {schema}")
                    session().read.parquet(str(rows)).writeTo(table).using("iceberg").create()
                    comments[table] = Table("", {})
        session().stop()
        engine = Spark(folder / "warehouse.duckdb", place)
        engine.publish(built_home.published, comments)
        yield Published(built_home.published, engine, types)


def types_of(db: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """By schema.table the columns' types. Datasets are views, which are not published as Iceberg tables."""
    columns = db.execute(
        "select schema_name || '.' || table_name, column_name, lower(data_type) from duckdb_columns()"
        " where database_name = current_database() and not internal and schema_name <> 'gtm_certified'"
        " order by 1, column_index"
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, type_ in columns:
        found.setdefault(table, {})[column] = type_
    return found


def place_of(table: str) -> str:
    """What a published table is called in the catalogue."""
    return table.replace("gtm_", "gtm_published_", 1)


def test_pyiceberg_reads_what_is_published(published):
    from gtm_assets.engines.iceberg import our_type

    catalogue = published.engine.catalogue()
    tables = {table: catalogue.load_table(place_of(table)) for table in published.types}
    types = {
        table: {field.name: our_type(field.field_type) for field in iceberg.schema().fields}
        for table, iceberg in tables.items()
    }
    assert types == published.types
    assert exact(types.values())
    assert differing(published.file, {table: iceberg.scan().to_arrow() for table, iceberg in tables.items()}) == {}


def test_duckdb_reads_what_is_published(published, tmp_path):
    packages = tmp_path / "packages"
    command = [UV, "pip", "install", "--quiet", "--python", sys.executable, "--target", packages, *EARLIER]
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode and not os.environ.get("CI"):
        pytest.skip(f"{EARLIER} can't be installed: {installed.stderr.strip()[-200:]}")
    assert installed.returncode == 0, installed.stderr
    pointers = published.engine.pointers(published=True)
    locations = {f"{schema}.{table}": location for (schema, table), (_, location) in pointers.items()}
    assert locations.keys() == published.types.keys()

    given = [sys.executable, "-c", SCAN, json.dumps(locations), tmp_path]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    done = subprocess.run(given, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr

    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        read = {table: db.read_parquet(str(tmp_path / f"{table}.parquet")) for table in locations}
        types = {
            table: {c: str(t).lower() for c, t in zip(rows.columns, rows.types, strict=True)}
            for table, rows in read.items()
        }
        assert types == published.types
        assert differing(published.file, {table: rows.to_arrow_table() for table, rows in read.items()}) == {}


@trino_server.needs_trino
def test_trino_reads_what_is_published(published):
    warehouse = published.engine.warehouse
    properties = {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "jdbc",
        "iceberg.jdbc-catalog.driver-class": "org.postgresql.Driver",
        "iceberg.jdbc-catalog.connection-url": warehouse.catalogue,
        "iceberg.jdbc-catalog.connection-user": warehouse.user,
        "iceberg.jdbc-catalog.catalog-name": "gtm",
        "iceberg.jdbc-catalog.default-warehouse-dir": warehouse.files.replace("file://", "local://"),
        "fs.native-local.enabled": "true",
        "local.location": "/",
    }
    found, types = {}, {}
    with trino_server.running({"sales": properties}) as trino, closing(connect(published.file)) as db:
        for table in published.types:
            cursor = trino.cursor()
            cursor.execute(f"select * from sales.{place_of(table)}")
            theirs = Counter(map(tuple, cursor.fetchall()))
            ours = Counter(db.sql(f"select * from {table}").fetchall())
            if theirs != ours:
                found[table] = (next(iter(theirs - ours), None), next(iter(ours - theirs), None))
            types[table] = {column[0]: type_of_trino(column[1]) for column in cursor.description}
    assert types == published.types
    assert found == {}


def type_of_trino(said: str) -> str:
    """A type of Trino in DuckDB's name; each timestamp has microseconds."""
    return said.replace(", ", ",").replace("timestamp(6)", "timestamp")


def exact(tables: Sequence[Mapping[str, str]]) -> bool:
    """Whether there are types among them which a reader may get wrong."""
    found = {type_ for columns in tables for type_ in columns.values()}
    return found >= {"decimal(38,2)", "decimal(24,6)", "timestamp with time zone", "date", "integer", "bigint"}


def differing(published: Path, read: Mapping[str, Any]) -> dict[str, Any]:
    """The tables whose rows differ, with a row of each side that the other lacks."""
    found = {}
    with closing(connect(published)) as db:
        for table, theirs in read.items():
            one, other = duckdb_rows(theirs, db.sql(f"select * from {table}").to_arrow_table())
            if one or other:
                found[table] = (one[:1], other[:1])
    return found
