"""`GTM_ENGINE=spark gtm run`: what is built, proven and published there equals what DuckDB has."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from gtm_assets.engines.engine import EngineError, Table
from gtm_assets.engines.registry import engine_of
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets_tests.dbt_harness import TABLES
from gtm_assets_tests.gtm_process import FIRST_END, GtmHome, differences, tables
from gtm_assets_tests.spark_session import needs_spark

pytestmark = [needs_spark, pytest.mark.nightly]

PUBLIC = ("gtm_core", "gtm_mart")
SPARK = {"GTM_ENGINE": "spark", "GTM_SPARK_MASTER": "local[2]", "GTM_SPARK_PARTITIONS": "2"}


def home_at(path: Path) -> GtmHome:
    return GtmHome(path, (*GtmHome(path).settings, *SPARK.items()))


def test_two_runs_publish_what_duckdb_does_and_a_third_has_nothing_to_do(built_home, tmp_path):
    home = home_at(tmp_path / "gtm")
    days = Lake(built_home.path / "lake").partitions(TABLES["user"])
    later = [f"partition={day}" for day in days if day > FIRST_END]
    shutil.copytree(built_home.path / "lake", home.path / "lake", ignore=shutil.ignore_patterns(*later))
    GtmHome(home.path, (*home.settings, ("GTM_END_DATE", FIRST_END))).run().check()
    shutil.copytree(built_home.path / "lake", home.path / "lake", dirs_exist_ok=True)
    home.run().check()

    published = [tables(each.published, lambda schema: schema in PUBLIC) for each in (home, built_home)]
    assert differences(*published) == []
    # Whoever reads the catalogue sees the same.
    engine = engine_of(load_settings({**dict(home.settings), "GTM_HOME": str(home.path)}))
    with duckdb.connect(str(home.published), read_only=True) as file:
        for table in ("gtm_core.dim_account_scd2", "gtm_mart.rep_owner_performance", "gtm_meta.publication"):
            said = file.sql(f"select * from {table}").to_arrow_table()
            assert apart(read(engine, table.replace("gtm_", "gtm_published_")), said) == 0
    assert "unchanged  all stands" in home.run().check().output


def read(engine: Any, table: str) -> pa.Table:
    return engine.catalogue().load_table(table).scan().to_arrow()


def apart(one: pa.Table, other: pa.Table) -> int:
    """How many rows are in one of two tables alone."""
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        db.register("one", one.select(other.column_names))
        db.register("other", other)
        both = ("one", "other"), ("other", "one")
        return sum(db.sql(f"from {a} except all from {b}").to_arrow_table().num_rows for a, b in both)


# -- publishing, without Spark ---------------------------------------------------------------------------------

DESCRIBED = {"gtm_core.dim_user": Table("People's.", {"user_key": "Key."})}


@pytest.fixture
def engine(tmp_path) -> Any:
    engine = engine_of(load_settings({"GTM_HOME": str(tmp_path / "gtm"), **SPARK}))
    engine.path.parent.mkdir()
    for layer in ("core", "mart", "meta"):
        engine.catalogue().create_namespace(f"gtm_{layer}")
    return engine


def build(engine: Any, number: int) -> None:
    rows = pa.table({"user_key": ["a", "b"], "number": [number, number]})
    engine.catalogue().create_table_if_not_exists("gtm_core.dim_user", rows.schema).overwrite(rows)


def publish(engine: Any, folder: Path, number: int) -> None:
    build(engine, number)
    said = folder / "said.duckdb"
    said.unlink(missing_ok=True)
    with duckdb.connect(str(said)) as file:
        file.execute(f"create schema gtm_meta; create table gtm_meta.publication as select {number} as number")
    engine.publish(said, DESCRIBED)


def test_readers_see_what_was_published_and_not_what_is_built(engine, tmp_path):
    publish(engine, tmp_path, 0)
    stop, troubles, reads = threading.Event(), [], []

    def reader() -> None:
        while not stop.is_set():
            # What a reader that asks for all pointers at once is given.
            pointers = engine.pointers(published=True)
            files = [engine.table_at(location).scan().to_arrow() for _, location in pointers.values()]
            numbers = {row["number"] for rows in files for row in rows.to_pylist()}
            reads.append(len(files))
            if len(numbers) != 1 or len(files) != 2:
                troubles.append(numbers)

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 8):
        publish(engine, tmp_path, number)
    build(engine, 99)
    stop.set()
    for thread in threads:
        thread.join()

    assert troubles == [] and len(reads) > 5
    assert read(engine, "gtm_published_core.dim_user")["number"].to_pylist() == [7, 7]


def test_a_catalogue_of_another_schema_is_refused_and_nothing_is_published(engine, tmp_path):
    publish(engine, tmp_path, 1)
    with engine.catalogue().engine.begin() as connection:
        connection.exec_driver_sql("alter table iceberg_tables add column owner varchar")

    with pytest.raises(EngineError, match=r"other columns than .*JDBC catalogue V1 \(owner\): nothing was publ"):
        publish(engine, tmp_path, 2)

    assert read(engine, "gtm_published_core.dim_user")["number"].to_pylist() == [1, 1]


def test_whatever_somebody_writes_changes_the_stamp_and_reading_does_not(engine):
    build(engine, 1)
    before = engine.stamp()
    read(engine, "gtm_core.dim_user")
    assert engine.stamp() == before
    build(engine, 1)
    assert engine.stamp().keys() == before.keys() and engine.stamp() != before
