"""Spark as the engine: the lake's files are its tables, and each table that is built there equals DuckDB's."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.engines.engine import EngineAway, EngineError
from gtm_assets.engines.iceberg_catalog import Warehouse
from gtm_assets.engines.registry import engine_of
from gtm_assets.engines.spark import examine_java, examine_master
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets_tests.browser import free_port
from gtm_assets_tests.dbt_harness import TABLES, Home, describe, with_ancestors
from gtm_assets_tests.gtm_process import FIRST_END
from gtm_assets_tests.lake_builders import CALENDAR, DAY, DEALS, FIRST, NEXT, deal, merged, page, with_type
from gtm_assets_tests.postgres_tables import duckdb_rows
from gtm_assets_tests.spark_session import SparkHome, differing, needs_spark, session
from gtm_assets_tests.test_iceberg import publish

USERS = TABLES["user"]
CHAIN = ("dim_user_scd2", "fct_task", "rep_sales_velocity")
"""Models whose ancestors are base, versions, histories, facts and reports."""


# -- what Spark needs -------------------------------------------------------------------------------------------


def test_a_java_that_is_missing_or_too_old_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"needs Java 17 or later, and PATH has none\. Install it, or set"):
        examine_java()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineError, match=r"JAVA_HOME=.* has none that starts \(.*No such file"):
        examine_java()
    for version, told in (("11.0.2", "that of JAVA_HOME=.* is 11"), ("1.8.0_442", "is 8"), ("17.0.15", None)):
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
        java.chmod(0o755)
        if told is None:
            examine_java()
        else:
            with pytest.raises(EngineError, match=told):
                examine_java()


def test_a_master_that_is_none_or_does_not_answer_is_said():
    for master in ("local", "local[*]", "local[2]", "yarn", "k8s://https://host:6443"):
        examine_master(master)
    for master in ("local[x]", "host:7077", "spark://host", ""):
        with pytest.raises(EngineError, match=r"is none of local\[\*\]"):
            examine_master(master)
    away = free_port()
    with pytest.raises(EngineAway, match=rf"can't be reached at .* \(127\.0\.0\.1:{away}: .*refused\)\. Start it"):
        examine_master(f"spark://127.0.0.1:{away}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Of several one may be away.
        examine_master(f"spark://127.0.0.1:{away},127.0.0.1:{server.getsockname()[1]}")


# -- the lake --------------------------------------------------------------------------------------------------


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake(tmp_path / "lake")
    land(lake, FIRST, deal(1, FIRST), deal(2, FIRST, amount=None, name="Ünïcode 'n\" \\ tab\t"))
    return lake


def land(lake: Lake, partition: str, *records: dict, table: Any = DEALS) -> None:
    window = CALENDAR.window(partition)
    lake.land(table, window, [page(*records)], window.end)


def added(lake: Lake, *tables: Any) -> dict[str, tuple[int, int, int]]:
    """Bring the Iceberg tables to the lake's files; those that came, were written again and went, by table."""
    from gtm_assets.engines.spark_raw import add_lake

    done = add_lake(catalogue(lake), lake, tables or [DEALS])
    return {one.table: (one.files, one.rewritten, one.removed) for one in done}


def catalogue(lake: Lake) -> Any:
    from gtm_assets.engines.spark_raw import catalogue_of

    return catalogue_of(Warehouse.of(lake.root.parent))


def held(lake: Lake, table: Any = DEALS) -> Any:
    """The Iceberg table, which holds what the lake does in the lake's own files, and lists its batches."""
    iceberg = catalogue(lake).load_table("gtm_raw.salesforce__deal")
    assert duckdb_rows(iceberg.scan().to_arrow(), lake.read(table).collect().to_arrow()) == ([], [])
    listed = catalogue(lake).load_table("gtm_meta.lake_batches").scan().to_arrow().to_pylist()
    found = sorted((row["partition_key"], row["batch_id"], row["file_path"]) for row in listed)
    assert found == [(b.partition, b.batch_id, str(b.path)) for b in lake.batches(table)]
    return iceberg


def files_of(iceberg: Any) -> set[str]:
    return {task.file.file_path for task in iceberg.scan().plan_files()}


@needs_spark
@pytest.mark.nightly
def test_the_iceberg_tables_hold_the_lakes_files_whatever_comes_and_goes(lake):
    assert added(lake) == {"salesforce.deal": (1, 0, 0)}
    iceberg = held(lake)
    [batch] = lake.batches(DEALS)
    assert files_of(iceberg) == {str(batch.path)}
    assert iceberg.current_snapshot().summary["gtm.batch_ids"] == batch.batch_id
    assert added(lake) == {}

    # Batches come, one of them with a column that nobody has seen yet.
    land(lake, DAY, deal(1, is_won="false"), deal(3, region_c="North"))
    land(lake, NEXT, deal(3, NEXT, probability="1e-3"))
    assert added(lake) == {"salesforce.deal": (2, 0, 0)}
    held(lake)

    # A batch is gone from the lake.
    [batch] = lake.batches_of(DEALS, NEXT)
    batch.path.unlink()
    assert added(lake) == {"salesforce.deal": (0, 0, 1)}
    held(lake)

    # A source is off.
    assert added(lake, DEALS) == {}
    from gtm_assets.engines.spark_raw import add_lake

    add_lake(catalogue(lake), lake, [])
    assert catalogue(lake).load_table("gtm_meta.lake_batches").scan().to_arrow().num_rows == 0


@needs_spark
@pytest.mark.nightly
def test_merged_files_take_the_place_of_theirs_in_one_commit(lake):
    land(lake, DAY, deal(1))
    land(lake, NEXT, deal(1, NEXT))
    assert added(lake) == {"salesforce.deal": (3, 0, 0)}
    before = len(held(lake).history())

    merged(lake, DEALS)
    assert added(lake)["salesforce.deal"][2] == 3
    iceberg = held(lake)
    assert len(iceberg.history()) == before + 1
    assert added(lake) == {}


@needs_spark
@pytest.mark.nightly
def test_where_the_catalogue_was_mended_a_file_is_written_again_in_its_types(lake):
    added(lake)
    mended = with_type(DEALS, "lines", ColumnType.STRING)
    assert added(lake, mended) == {"salesforce.deal": (1, 1, 0)}
    assert added(lake, mended) == {}
    land(lake, DAY, deal(3, lines="many"), table=mended)
    assert added(lake, mended) == {"salesforce.deal": (1, 0, 0)}
    rows = catalogue(lake).load_table("gtm_raw.salesforce__deal").scan().to_arrow().to_pylist()
    assert sorted(row["lines"] for row in rows) == ["3", "3", "many"]

    # The other way round a value is none of the type: the table stays as it was.
    from gtm_assets.engines.spark_raw import IcebergError

    with pytest.raises(IcebergError, match=r"^salesforce\.deal: a value in .+ is not of the type"):
        added(lake, DEALS)
    assert catalogue(lake).load_table("gtm_raw.salesforce__deal").scan().to_arrow().num_rows == 3


# -- the models ------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path) -> Iterator[SparkHome]:
    """A home of Iceberg tables. The session ends with it, since its catalogue is in the folder; the JVM stays."""
    yield SparkHome(tmp_path / "gtm", tmp_path / "lake")
    session().stop()


def lake_until(built: Home | Any, lake: Path, last: str | None = None) -> None:
    """Copy the lake of a built home, with the partitions up to ``last`` alone."""
    days = Lake(built.path / "lake").partitions(USERS)
    later = [f"partition={day}" for day in days if last is not None and day > last]
    shutil.copytree(built.path / "lake", lake, ignore=shutil.ignore_patterns(*later), dirs_exist_ok=True)


@needs_spark
@pytest.mark.nightly
def test_spark_refuses_bad_casts_and_reads_what_is_published_and_removes_none_of_its_files(home, lake):
    from pyspark.errors import PySparkException

    home.seed()
    engine = engine_of(load_settings({"GTM_ENGINE": "spark", "GTM_HOME": str(home.path)}))
    engine.bring_lake(lake, [DEALS])
    engine.catalogue().create_namespace_if_not_exists("gtm_core")
    publish(engine, home.path, 1)

    with pytest.raises(PySparkException, match="CAST_INVALID_INPUT"):
        home.rows("select cast('x' as int)")
    published = "gtm_published_core.dim_user"
    assert home.rows(f"select * from {published} order by user_key") == [("a", 1), ("b", 1)]
    assert ("user_key", "string", "Key, it's one.") in home.rows(f"describe {published}")
    assert ("Comment", "People's.", "") in home.rows(f"describe extended {published}")
    assert home.rows("select count(*) from gtm_core.dim_user version as of 'published'") == [(2,)]
    for table in (published, "gtm_raw.salesforce__deal"):
        for refused in (
            f"call gtm.system.expire_snapshots(table => '{table}', older_than => timestamp '2100-01-01')",
            f"call gtm.system.remove_orphan_files(table => '{table}')",
            f"drop table {table} purge",
        ):
            with pytest.raises(Exception, match=r"GC is disabled|gc\.enabled"):
                home.rows(refused)
    assert home.rows(f"select count(*) from {published}") == [(2,)]


@needs_spark
@pytest.mark.nightly
def test_spark_analyses_each_model_and_each_data_test(home, built_home):
    lake_until(built_home, home.lake.root)
    home.seed()
    compiled = home.dbt("compile", "--select", "resource_type:model", "resource_type:test", "test_type:data")
    assert compiled.success, describe(compiled)
    nodes = {result.node.unique_id: result.node for result in compiled.result}

    refused = {}
    for node in in_order(nodes):
        try:
            analyse(node)
        except Exception as error:
            refused[node.name] = str(error).splitlines()[0]
    assert refused == {}
    assert len(nodes) > 400

    result = home.dbt("test", "--select", "test_type:unit")
    assert result.success, describe(result)
    assert len(result.result) >= 40


def analyse(node: Any) -> None:
    """Let Spark look at a node's SQL. A model that is a table is there then, without rows, for what reads it."""
    if node.resource_type == "test":
        session().sql(f"explain {node.compiled_code}")
        return
    session().sql(f"create schema if not exists {node.schema}")
    if node.config.materialized == "view":
        session().sql(f"create or replace view {node.relation_name} as {typed(node)}")
        return
    rows = session().sql(typed(node))
    columns = ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in rows.schema)
    session().sql(f"create or replace table {node.relation_name} ({columns})")


def in_order(nodes: dict[str, Any]) -> list[Any]:
    """The nodes, each after those that it reads."""
    found: dict[str, Any] = {}

    def visit(unique_id: str) -> None:
        if unique_id in nodes and unique_id not in found:
            for parent in nodes[unique_id].depends_on.nodes:
                visit(parent)
            found[unique_id] = nodes[unique_id]

    for unique_id in nodes:
        visit(unique_id)
    return list(found.values())


def typed(node: Any) -> str:
    """The SQL of a model with its contract's columns, in their types."""
    if not node.config.contract.enforced:
        return node.compiled_code
    names = {"varchar": "string", "integer": "int", "timestamp with time zone": "timestamp"}
    columns = ", ".join(
        f"cast({c.name} as {names.get(c.data_type.lower(), c.data_type)}) as {c.name}"
        for c in node.columns.values()
    )
    return f"select {columns} from ({node.compiled_code}) as contracted"


@needs_spark
@pytest.mark.nightly
def test_a_chain_from_base_to_reports_equals_duckdbs_after_a_first_and_an_incremental_build(home, built_home):
    models = with_ancestors(*CHAIN)
    lake_until(built_home, home.lake.root, FIRST_END)
    home.seed()
    home.build(*models)
    lake_until(built_home, home.lake.root)
    home.build(*models)

    compared, found = differing(built_home.path / "warehouse.duckdb", models)
    assert found == {}
    assert compared == len(models)

    # What was consumed is not consumed again, and a build that was killed before its ledger doubles nothing.
    session().sql("delete from gtm_meta.consumed_batches where model like 'dim_%' or model like 'fct_%'")
    home.build(*models)
    assert differing(built_home.path / "warehouse.duckdb", models) == (compared, {})


@needs_spark
@pytest.mark.nightly
def test_all_tables_equal_duckdbs_after_a_first_and_an_incremental_build(home, built_home):
    for last in (FIRST_END, None):
        lake_until(built_home, home.lake.root, last)
        result = home.dbt("build", "--exclude-resource-type", "unit_test")
        assert result.success, describe(result)

    compared, found = differing(built_home.path / "warehouse.duckdb")
    assert found == {}
    assert compared > 130
