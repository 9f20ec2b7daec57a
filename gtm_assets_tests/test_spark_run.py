"""`GTM_ENGINE=spark gtm run`: what is built, proven and published there equals what DuckDB has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

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
