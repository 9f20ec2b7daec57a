"""`gtm` with `GTM_ENGINE=spark`: what is built, proven and published there equals what DuckDB has."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from gtm_assets.engines.files import connect
from gtm_assets.engines.registry import engine_of
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets_tests.dbt_harness import BOOKKEEPING, TABLES, with_ancestors
from gtm_assets_tests.gtm_process import FIRST_END, GtmHome, differences, tables
from gtm_assets_tests.needs import require
from gtm_assets_tests.postgres_server import programs, running
from gtm_assets_tests.postgres_tables import duckdb_rows
from gtm_assets_tests.spark_session import needs_spark
from gtm_assets_tests.test_gtm_run import say_until
from gtm_assets_tests.test_iceberg import shared

pytestmark = [needs_spark, pytest.mark.nightly]

PUBLIC = ("gtm_core", "gtm_mart")
SPARK = {"GTM_ENGINE": "spark", "GTM_SPARK_MASTER": "local[2]", "GTM_SPARK_PARTITIONS": "2"}
CHAIN = ("dim_user_scd2", "rep_sales_velocity")
"""Models whose ancestors are base, versions, histories, facts and reports."""
_TESTED = (*CHAIN, "dim_user", "dim_date", "dim_forecasting_period", "base_salesforce__product_2")
SELECTION = ("resource_type:seed", *(f"+{name}" for name in _TESTED))
"""They, and what their tests look at."""


def home_at(path: Path, **settings: str) -> GtmHome:
    return GtmHome(path, (*GtmHome(path).settings, *SPARK.items(), *settings.items()), patience=3600)


def engine_at(home: GtmHome) -> Any:
    return engine_of(load_settings({**dict(home.settings), "GTM_HOME": str(home.path)}))


def copy_lake(built: GtmHome, home: GtmHome, last: str | None = None) -> None:
    """Copy the lake of a built home, with the partitions up to ``last`` alone."""
    days = Lake(built.path / "lake").partitions(TABLES["user"])
    later = [f"partition={day}" for day in days if last is not None and day > last]
    ignored = shutil.ignore_patterns(*later)
    shutil.copytree(built.path / "lake", home.path / "lake", ignore=ignored, dirs_exist_ok=True)


# -- the whole project -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(built_home, tmp_path_factory) -> GtmHome:
    """A state folder after two runs on Spark: of two partitions, then of the third."""
    home = home_at(tmp_path_factory.mktemp("spark") / "gtm")
    copy_lake(built_home, home, FIRST_END)
    home_at(home.path, GTM_END_DATE=FIRST_END).run().check()
    copy_lake(built_home, home)
    home.run().check()
    return home


def test_what_is_published_equals_duckdbs_as_a_file_and_as_iceberg_tables(built, built_home):
    assert published(built) == published(built_home)
    engine = engine_at(built)
    with duckdb.connect(str(built.published), read_only=True) as file:
        for (schema, table), (_, location) in sorted(engine.pointers(published=True).items()):
            rows = engine.table_at(location).scan().to_arrow()
            assert apart(rows, file.sql(f"select * from {schema}.{table}").to_arrow_table()) == 0, table
    assert len(engine.pointers(published=True)) > 35
    described = engine.catalogue().load_table("gtm_published_core.dim_account")
    assert described.properties["comment"].startswith("Companies as they are now. One row per account")
    assert [field.name for field in described.schema().fields if not field.doc] == []


def test_snapshots_expire_and_a_run_with_nothing_new_does_nothing(built):
    before = published(built)
    said = built.command("warehouse", "expire").check().output
    assert re.search(r"0 snapshots older than 7 days have expired, and 0 files went", said)

    assert "unchanged  all stands" in built.run().check().output
    assert published(built) == before


def test_a_full_refresh_gives_the_same(built, built_home):
    built.run("--full-refresh").check()

    assert published(built) == published(built_home)


def test_as_of_an_earlier_day_gives_duckdbs_file(built, built_home, tmp_path):
    other = GtmHome(tmp_path / "gtm")
    shutil.copytree(built_home.path / "lake", other.path / "lake")
    shutil.copy(built_home.path / "calendar.json", other.path)
    files = []
    for home in (built, other):
        home.run("--as-of", FIRST_END).check()
        files += [next((home.path / "as_of").glob("*.duckdb"))]

    assert differences(*(tables(file, lambda schema: schema in PUBLIC) for file in files)) == []


def published(home: GtmHome) -> dict[str, list[tuple]]:
    return tables(home.published, lambda schema: schema in PUBLIC)


def apart(one: pa.Table, other: pa.Table) -> int:
    """How many rows are in one of two tables alone."""
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        db.register("one", one.select(other.column_names))
        db.register("other", other)
        both = ("one", "other"), ("other", "one")
        return sum(db.sql(f"from {a} except all from {b}").to_arrow_table().num_rows for a, b in both)


# -- a chain of models -----------------------------------------------------------------------------------------


def differing(home: GtmHome, built: GtmHome, names: Sequence[str]) -> dict[str, Any]:
    """Of each table whose rows differ from those of DuckDB's: how many are in one alone, with examples."""
    engine, found = engine_at(home), {}
    compared = sorted((schema, table) for schema, table in engine.tables() if table in names)
    assert len(compared) > 15
    with closing(connect(built.warehouse)) as db:
        for schema, table in compared:
            columns = [row[0] for row in db.execute(f"describe {schema}.{table}").fetchall()]
            chosen = [column for column in columns if column not in BOOKKEEPING]
            listed = ", ".join(f'"{column}"' for column in chosen)
            ours = db.sql(f"select {listed} from {schema}.{table}").to_arrow_table()
            theirs = engine.catalogue().load_table((schema, table)).scan(selected_fields=tuple(chosen)).to_arrow()
            one, other = duckdb_rows(theirs.select(chosen), ours)
            if one or other:
                found[f"{schema}.{table}"] = (len(one), len(other), one[:1], other[:1])
    return found


def test_killed_at_any_moment_the_next_build_gives_duckdbs_tables(built_home, tmp_path):
    chance = random.Random(20261129)
    home = home_at(tmp_path / "gtm")
    copy_lake(built_home, home)
    for times in (1, 8, 20, 30):
        process = home.start("build", *SELECTION)
        output = say_until(process, "built ", times)
        time.sleep(chance.uniform(0, 2))
        assert process.poll() is None, output
        # The next begins at once, while the Spark of this one may still be ending.
        process.kill()
        process.wait()
    home.command("build", *SELECTION).check()

    assert differing(home, built_home, with_ancestors(*CHAIN)) == {}


def test_two_builds_of_a_shared_catalogue_wait_and_what_somebody_writes_is_built_again(built_home, tmp_path):
    require("PostgreSQL is not installed" if programs() is None else None)
    with running() as server:
        given = {**shared(server, tmp_path), "GTM_SPARK_WAREHOUSE": f"file://{tmp_path}/tables"}
        homes = [home_at(tmp_path / name, **given) for name in ("one", "other")]
        copy_lake(built_home, homes[0])
        homes[1].path.mkdir()
        (homes[1].path / "lake").symlink_to(homes[0].path / "lake")
        processes = [home.start("build", *SELECTION) for home in homes]
        outputs = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
        assert differing(homes[0], built_home, with_ancestors(*CHAIN)) == {}
        waited = r"in use by gtm: .* from 127\.0\.0\.1, since .* UTC\. Waiting until it is free"
        assert sum(bool(re.search(waited, line)) for home in homes for line in log_of(home)) == 1

        # A history is built on what is there.
        engine_at(homes[1]).catalogue().load_table("gtm_core.dim_user_scd2").delete("is_current = true")
        homes[1].command("build", *SELECTION).check()

        [said] = [line for line in log_of(homes[1]) if "Somebody else has written" in line]
        assert "gtm_core.dim_user_scd2" in said
        assert differing(homes[1], built_home, with_ancestors(*CHAIN)) == {}


def log_of(home: GtmHome) -> list[str]:
    """What the newest run wrote to Dagster's log."""
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        [newest] = instance.get_runs(limit=1)
        return [entry.user_message for entry in instance.all_logs(newest.run_id)]
