"""Iceberg tables without Spark: their catalogue, publishing, and what is expired."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import psutil
import pyarrow as pa
import pytest

from gtm_assets import clock
from gtm_assets.automation.expiry import expired_snapshots_asset
from gtm_assets.dbt.state import NodeState, States
from gtm_assets.engines.engine import EngineAway, EngineError, Table
from gtm_assets.engines.registry import engine_of
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets_tests.browser import free_port
from gtm_assets_tests.gtm_process import GtmHome
from gtm_assets_tests.lake_builders import CALENDAR, DAY, DEALS, FIRST, deal, page
from gtm_assets_tests.needs import require
from gtm_assets_tests.postgres_server import programs, running
from gtm_assets_tests.spark_session import needs_spark

pytestmark = [needs_spark, pytest.mark.nightly]

DESCRIBED = {"gtm_core.dim_user": Table("People's.", {"user_key": "Key, it's one.", "number": ""})}
SQLITE, POSTGRES = "sqlite", "postgresql"
LATER = timedelta(days=1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    require("PostgreSQL is not installed" if programs() is None else None)
    with running() as address:
        yield address


@pytest.fixture(params=[SQLITE, POSTGRES])
def engine(request, tmp_path) -> Any:
    """An engine whose catalogue is a file, or in a database of a server."""
    if request.param == SQLITE:
        return engine_at(tmp_path)
    return engine_at(tmp_path, shared(request.getfixturevalue("server"), tmp_path))


def shared(server: str, folder: Path) -> dict[str, str]:
    """The settings of a catalogue in a database of its own."""
    import psycopg2

    connection = psycopg2.connect(server)
    connection.autocommit = True
    name = re.sub(r"\W", "_", folder.name).lower()[-40:]
    connection.cursor().execute(f"create database {name}")
    connection.close()
    address = server.partition("@")[2].partition("/")[0]
    return {
        "GTM_SPARK_CATALOG": f"jdbc:postgresql://{address}/{name}",
        "GTM_SPARK_CATALOG_USER": "gtm",
        "GTM_SPARK_CATALOG_PASSWORD": "hidden",
    }


def engine_at(folder: Path, given: dict[str, str] | None = None) -> Any:
    engine = engine_of(load_settings({"GTM_HOME": str(folder / "gtm"), "GTM_ENGINE": "spark", **(given or {})}))
    engine.path.parent.mkdir(parents=True, exist_ok=True)
    for layer in ("raw", "core", "mart", "meta"):
        engine.catalogue().create_namespace_if_not_exists(f"gtm_{layer}")
    return engine


def build(engine: Any, number: int) -> Any:
    rows = pa.table({"user_key": ["a", "b"], "number": [number, number]})
    table = engine.catalogue().create_table_if_not_exists("gtm_core.dim_user", rows.schema)
    (table.overwrite if table.current_snapshot() else table.append)(rows)
    return table


def publish(engine: Any, folder: Path, number: int) -> None:
    build(engine, number)
    said = folder / "said.duckdb"
    said.unlink(missing_ok=True)
    with duckdb.connect(str(said)) as file:
        file.execute(f"create schema gtm_meta; create table gtm_meta.publication as select {number} as number")
    engine.publish(said, DESCRIBED)


def read(engine: Any, table: str) -> list[Any]:
    return engine.catalogue().load_table(table).scan().to_arrow()["number"].to_pylist()


# -- publishing ------------------------------------------------------------------------------------------------


def test_readers_see_all_of_one_publication_and_not_what_is_built(engine, tmp_path):
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
    assert read(engine, "gtm_published_core.dim_user") == [7, 7]


def test_until_all_pointers_are_set_readers_see_what_was_published_before(engine, tmp_path):
    from sqlalchemy import Engine, event

    publish(engine, tmp_path, 1)
    before, seen = engine.pointers(published=True), []

    def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("delete from iceberg_tables", "insert into iceberg_tables")):
            seen.append(engine.pointers(published=True))

    event.listen(Engine, "after_cursor_execute", look)
    try:
        publish(engine, tmp_path, 2)
    finally:
        event.remove(Engine, "after_cursor_execute", look)

    assert len(seen) == 2 and all(pointers == before for pointers in seen)
    after = engine.pointers(published=True)
    assert after.keys() == before.keys() and not set(after.values()) & set(before.values())


def test_a_published_table_says_what_it_and_its_columns_are(engine, tmp_path):
    publish(engine, tmp_path, 1)
    published = engine.catalogue().load_table("gtm_published_core.dim_user")

    assert published.properties["comment"] == "People's."
    assert {f.name: f.doc for f in published.schema().fields} == {"user_key": "Key, it's one.", "number": None}
    assert published.snapshots() == [published.current_snapshot()]


def test_whatever_becomes_of_the_table_that_was_built_the_published_one_stays(engine, tmp_path):
    publish(engine, tmp_path, 1)
    kept = {"write.metadata.previous-versions-max": "1", "write.metadata.delete-after-commit.enabled": "true"}
    with engine.catalogue().load_table("gtm_core.dim_user").transaction() as transaction:
        transaction.set_properties(kept)
    for number in (2, 3, 4):
        build(engine, number)
    engine.catalogue().drop_table("gtm_core.dim_user")

    assert read(engine, "gtm_published_core.dim_user") == [1, 1]


def test_a_catalogue_of_another_schema_is_refused_and_nothing_is_published(engine, tmp_path):
    publish(engine, tmp_path, 1)
    with engine.catalogue().engine.begin() as connection:
        connection.exec_driver_sql("alter table iceberg_tables add column owner varchar")

    told = r"the catalogue of Iceberg at jdbc:.* of other columns than Iceberg's JDBC catalogue V1 \(owner\)"
    for call in (engine.examine, lambda: publish(engine, tmp_path, 2)):
        with pytest.raises(EngineError, match=told):
            call()
    assert read(engine, "gtm_published_core.dim_user") == [1, 1]


def test_whatever_somebody_writes_changes_the_stamp_and_reading_does_not(engine):
    build(engine, 1)
    before = engine.stamp()
    read(engine, "gtm_core.dim_user")
    assert engine.stamp() == before
    build(engine, 1)
    assert engine.stamp().keys() == before.keys() and engine.stamp() != before


# -- a catalogue that several people share ---------------------------------------------------------------------


def test_two_builds_wait_for_each_other_and_say_for_whom(server, tmp_path):
    given = shared(server, tmp_path)
    one, other = (engine_at(tmp_path / name, given) for name in ("one", "other"))
    apart = engine_at(tmp_path / "dev", {**given, "GTM_ENV": "dev"})
    said, entered, leave = [], threading.Event(), threading.Event()

    def second() -> None:
        with other.held("run 2", said.append):
            entered.set()
            leave.wait(30)

    with one.held("run 1", said.append), apart.held("run 3", said.append):
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        assert not entered.wait(1)
        told = (
            r"The warehouse is in use by gtm: run 1 from 127\.0\.0\.1, since .* UTC\. Waiting until it is free\."
        )
        assert re.fullmatch(told, said[0])
        # Who holds the lock is in no transaction, which would keep the server from tidying up.
        with one.catalogue().engine.connect() as connection:
            states = "select state from pg_stat_activity where starts_with(application_name, 'gtm: run')"
            assert "idle in transaction" not in connection.exec_driver_sql(states).scalars().all()
    assert entered.wait(30)
    leave.set()
    thread.join()
    assert len(said) == 1


def test_a_catalogue_that_is_away_or_refuses_a_user_is_said_without_the_password(tmp_path):
    given = {
        "GTM_ENGINE": "spark",
        "GTM_SPARK_CATALOG": f"jdbc:postgresql://127.0.0.1:{free_port()}/lake?sslpassword=hidden",
        "GTM_SPARK_CATALOG_USER": "gtm",
        "GTM_SPARK_CATALOG_PASSWORD": "hidden",
    }
    home = GtmHome(tmp_path / "gtm", (*GtmHome(tmp_path).settings, *given.items()))

    said = home.in_process("doctor").output

    assert re.search(r"the catalogue of Iceberg at jdbc:postgresql://127\.0\.0\.1:\d+/lake can't be reached", said)
    assert "mend GTM_SPARK_CATALOG" in said
    assert "hidden" not in said


HOLDING = """
import sys, time
from pathlib import Path
from gtm_assets.engines.spark_session import lock_until_its_end
lock_until_its_end(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_build_waits_until_the_spark_of_a_process_that_was_killed_has_ended(tmp_path):
    engine = engine_at(tmp_path)
    command = [sys.executable, "-c", HOLDING, str(engine.path.with_suffix(".jvm.lock"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "held\n"
    [java] = [one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == "java"]
    process.kill()

    with engine.held("run", print):
        assert not java.is_running() or java.status() == psutil.STATUS_ZOMBIE
    process.communicate()


def test_what_fails_while_the_lock_is_held_is_not_taken_for_the_catalogues(engine):
    from sqlalchemy.exc import OperationalError

    with pytest.raises(OperationalError, match="elsewhere"), engine.held("run", print):
        raise OperationalError("elsewhere", None, Exception())


# -- what is expired -------------------------------------------------------------------------------------------


def files(engine: Any) -> set[Path]:
    folder = Path(engine.warehouse.files.removeprefix("file://"))
    return {path for path in folder.rglob("*") if path.is_file()}


def now() -> datetime:
    time.sleep(0.01)
    return datetime.now(UTC)


def test_old_snapshots_and_files_go_and_what_is_built_or_published_stays(engine, tmp_path):
    for number in (1, 2, 3):
        build(engine, number)
    publish(engine, tmp_path, 4)
    for number in (5, 6):
        build(engine, number)
    orphan = Path(engine.warehouse.files.removeprefix("file://")) / "gtm_core" / "gone" / "data" / "x.parquet"
    orphan.parent.mkdir(parents=True)
    orphan.touch()

    # What is young stays.
    before = files(engine)
    nothing = engine.expire(now() - LATER)
    assert (nothing.snapshots, nothing.files, files(engine)) == (0, 0, before)

    done = engine.expire(now())

    assert done.files == len(before - files(engine)) > 0 and done.bytes > 0 and done.snapshots > 0
    assert not orphan.exists()
    built = engine.catalogue().load_table("gtm_core.dim_user")
    # The newest, and the one that is tagged as published.
    assert len(built.snapshots()) == 2
    assert read(engine, "gtm_core.dim_user") == [6, 6]
    assert read(engine, "gtm_published_core.dim_user") == [4, 4]
    assert read(engine, "gtm_published_meta.publication") == [4]
    # Who reads the tagged snapshot by the table that it was built in reads it still.
    tagged = built.scan(snapshot_id=built.metadata.refs["published"].snapshot_id).to_arrow()
    assert tagged["number"].to_pylist() == [4, 4]
    again = engine.expire(now())
    assert again.snapshots == 0


def test_none_of_the_lakes_own_files_goes(engine, tmp_path):
    lake = Lake(tmp_path / "gtm" / "lake")
    for partition, number in ((FIRST, 1), (DAY, 2)):
        window = CALENDAR.window(partition)
        lake.land(DEALS, window, [page(deal(number, partition))], window.end)
        engine.bring_lake(lake, [DEALS])
    # One leaves the table in a commit, and stays in the lake's folder.
    [gone] = lake.batches_of(DEALS, DAY)
    aside = gone.path.rename(tmp_path / "aside")
    engine.bring_lake(lake, [DEALS])
    aside.rename(gone.path)
    held = {path: path.read_bytes() for path in lake.root.rglob("*") if path.is_file()}

    done = engine.expire(now())

    assert done.snapshots > 2 and done.files > 2
    assert {path: path.read_bytes() for path in lake.root.rglob("*") if path.is_file()} == held
    raw = engine.catalogue().load_table("gtm_raw.salesforce__deal")
    assert len(raw.snapshots()) == 1 and raw.scan().to_arrow().num_rows == 1


def test_what_another_environment_has_built_or_published_in_the_same_folder_stays(server, tmp_path):
    given = {**shared(server, tmp_path), "GTM_SPARK_WAREHOUSE": f"file://{tmp_path}/tables"}
    production, development = engine_at(tmp_path, given), engine_at(tmp_path, {**given, "GTM_ENV": "dev"})
    rows = pa.table({"number": [1]})
    schema = f"{development.schema_prefix}core"
    production.catalogue().create_namespace(schema)
    built = production.catalogue().create_table(f"{schema}.dim_user", rows.schema)
    built.append(rows)
    # What lies among development's tables, production alone points at.
    production.catalogue().register_table("gtm_core.registered", built.metadata_location)
    production.catalogue().drop_table(f"{schema}.dim_user")
    publish(production, tmp_path, 1)

    for engine in (development, production, development):
        engine.expire(now())

    assert read(production, "gtm_core.registered") == [1]
    assert read(production, "gtm_published_core.dim_user") == [1, 1]


def test_in_a_folder_of_another_catalogue_nothing_is_removed(tmp_path):
    given = {"GTM_SPARK_WAREHOUSE": f"file://{tmp_path}/tables"}
    one, other = engine_at(tmp_path / "one", given), engine_at(tmp_path / "other", given)
    one.bring_lake(Lake(tmp_path / "lake"), [])
    build(one, 1)
    before = files(one)
    other.bring_lake(Lake(tmp_path / "lake"), [])

    with pytest.raises(
        EngineError, match=r"holds the tables of another catalogue.*remove .*/tables/catalogue\.id"
    ):
        other.expire(now())

    assert before <= files(one)
    assert read(one, "gtm_core.dim_user") == [1, 1]


def test_where_a_tables_files_can_not_be_listed_none_is_removed(engine):
    for number in (1, 2):
        table = build(engine, number)
    Path(table.metadata_location.removeprefix("file://")).write_text("{")
    before = files(engine)

    with pytest.raises(EngineError, match=r"^gtm_core\.dim_user: its files can't be listed .*gtm run --full-ref"):
        engine.expire(now())

    assert files(engine) == before


def test_the_asset_expires_what_the_settings_say_and_what_was_built_stands(tmp_path, monkeypatch):
    engine = engine_at(tmp_path)
    for number in (1, 2):
        build(engine, number)
    states = States(engine)
    states.nodes = {"model.gtm_dbt.dim_user": NodeState("inputs", "content", "success", "run")}
    states.keep()
    settings = load_settings({"GTM_HOME": str(tmp_path / "gtm"), "GTM_ENGINE": "spark"})
    asset = expired_snapshots_asset(settings, [])
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(days=7, seconds=1))

    result = dg.materialize([asset])

    metadata = result.asset_materializations_for_node(asset.op.name)[0].metadata
    assert metadata["snapshots"].value == 2 and metadata["files"].value > 0
    assert States(engine).nodes == states.nodes
    assert read(engine, "gtm_core.dim_user") == [2, 2]


def test_a_catalogue_that_is_away_expires_nothing(tmp_path):
    given = {"GTM_SPARK_CATALOG": f"jdbc:postgresql://127.0.0.1:{free_port()}/lake"}
    engine = engine_of(load_settings({"GTM_HOME": str(tmp_path), "GTM_ENGINE": "spark", **given}))
    with pytest.raises(EngineAway, match="can't be reached"):
        engine.expire(now())
