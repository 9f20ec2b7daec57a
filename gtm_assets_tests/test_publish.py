"""Publishing: what forbids it, and that readers see the old file or the new one, whole."""

import dataclasses
import json
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster import DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned

from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.dbt.project import manifest_path
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines import files
from gtm_assets.engines.files import compact, create
from gtm_assets.errors import NotReadable
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import boundary
from gtm_assets.publishing import publish as publishing
from gtm_assets.publishing.certification import Certificates
from gtm_assets.publishing.publish import (
    Publication,
    PublishError,
    Table,
    known_as_of,
    publish,
    published_asset,
    refuse,
    refuse_vanished,
    unreadable_tables,
    verdicts,
)
from gtm_assets.sources.raw_asset import READABLE_CHECK, asset_key
from gtm_assets.sources.salesforce.assets import readable
from gtm_assets.sources.salesforce.catalog import OBJECTS

TABLES = {table.name: table for table in OBJECTS}
ASSET = dg.AssetKey(["gtm_core", "dim_user"])
CHECK = dg.AssetCheckKey(ASSET, "unique_dim_user_user_key")
BLOCKING = CheckRegistry((CHECK,), frozenset({CHECK}))
PUBLICATION = Publication(
    run_id="run-1",
    published_at=datetime(2026, 10, 1, 5, 0, tzinfo=UTC),
    checks_passed=3,
    checks_warned=1,
    as_of=boundary(date(2026, 9, 4)),
)


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


def build(instance, *results: dg.AssetCheckResult, materialize: bool = True) -> None:
    """One run that builds the asset and evaluates the check as given."""

    @dg.multi_asset(
        specs=[dg.AssetSpec(ASSET, skippable=True)],
        check_specs=[dg.AssetCheckSpec(CHECK.name, asset=ASSET)],
        can_subset=True,
    )
    def step():
        if materialize:
            yield dg.MaterializeResult(ASSET)
        yield from results

    dg.materialize([step], instance=instance, raise_on_error=False)


def result(passed: bool, severity=dg.AssetCheckSeverity.ERROR) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(asset_key=ASSET, check_name=CHECK.name, passed=passed, severity=severity)


def outcome(instance) -> str:
    (verdict,) = verdicts(instance, BLOCKING)
    return verdict.outcome


def test_a_check_that_passed_in_the_asset_s_own_build_allows_publishing(instance):
    build(instance, result(True))

    assert outcome(instance) == "passed"
    refuse(verdicts(instance, BLOCKING))


def test_a_blocking_check_that_failed_forbids_it_and_is_named(instance):
    build(instance, result(False))

    with pytest.raises(PublishError, match="gtm_core/dim_user: unique_dim_user_user_key failed"):
        refuse(verdicts(instance, BLOCKING))


def test_a_check_that_was_planned_in_a_run_that_died_is_missing_and_forbids_only_where_it_blocks(instance):
    build(instance, result(True))
    planned = AssetCheckEvaluationPlanned(asset_key=ASSET, check_name=CHECK.name)
    instance.event_log_storage.store_event(
        dg.EventLogEntry(
            error_info=None,
            level="debug",
            user_message="",
            run_id=dg.DagsterRun("job").run_id,
            timestamp=time.time(),
            dagster_event=dg.DagsterEvent(
                DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value, "job", event_specific_data=planned
            ),
        )
    )

    assert outcome(instance) == "missing"
    refuse(verdicts(instance, CheckRegistry((CHECK,), frozenset())))
    with pytest.raises(PublishError, match="missing"):
        refuse(verdicts(instance, BLOCKING))


def test_a_failure_of_severity_warn_is_published_as_a_warning(instance):
    build(instance, result(False, dg.AssetCheckSeverity.WARN))

    assert outcome(instance) == "warned"
    refuse(verdicts(instance, BLOCKING))


def test_a_blocking_check_that_never_ran_forbids_it(instance):
    with pytest.raises(PublishError, match="unique_dim_user_user_key missing"):
        refuse(verdicts(instance, BLOCKING))


def test_a_check_of_an_earlier_build_does_not_count_for_this_one(instance):
    build(instance, result(True))
    dg.materialize([dg.AssetsDefinition(specs=[dg.AssetSpec("unrelated")])], instance=instance)
    instance.report_runless_asset_event(dg.AssetMaterialization(ASSET))

    assert outcome(instance) == "missing"


def test_a_check_repeated_after_the_build_counts(instance):
    build(instance, result(False))
    build(instance, result(True), materialize=False)

    assert outcome(instance) == "passed"


@pytest.fixture
def warehouse(tmp_path) -> Warehouse:
    create(tmp_path / "warehouse.duckdb")
    connection = duckdb.connect(str(tmp_path / "warehouse.duckdb"))
    for schema in ("gtm_staging", "gtm_core", "gtm_mart", "gtm_meta"):
        connection.execute(f"create schema {schema}")
    connection.execute("create table gtm_staging.stg as select 1 as hidden")
    connection.execute("create table gtm_core.dim_user as select 1 as user_key union all select 2")
    connection.execute("create view gtm_mart.rep as select count(*) as users from gtm_core.dim_user")
    connection.execute(
        "create table gtm_meta.lake_batches as select 'salesforce' as source_name, 'user' as table_name,"
        " '2026-09-0' || i as partition_key, 'user-' || i as batch_id,"
        " timestamptz '2026-09-02 04:49:00+00' + to_days(i::integer) as read_until from range(1, 4) r(i)"
    )
    connection.execute("create table gtm_meta.consumed_batches (model varchar, parent varchar, batch_id varchar)")
    connection.execute("create table gtm_meta.tables_not_read (table_name varchar)")
    connection.execute(
        "create table gtm_meta.external_tables (source_name varchar, table_name varchar, external_name varchar,"
        " has_history boolean, row_count bigint, newest_synced_at timestamptz,"
        " missing_columns varchar, unknown_columns varchar)"
    )
    connection.execute(
        "create table gtm_meta.external_misfits (source_name varchar, table_name varchar, column_name varchar,"
        " type_name varchar, row_count bigint, record varchar, value varchar)"
    )
    connection.execute("create table gtm_meta.external_now (now_at timestamptz)")
    connection.execute(
        "create table gtm_meta.external_flaws (source_name varchar, table_name varchar, flaw varchar,"
        " record_id varchar, row_count bigint)"
    )
    connection.close()
    return Warehouse(tmp_path / "warehouse.duckdb", tmp_path / "warehouse.lock")


@pytest.fixture
def source(warehouse):
    # As the asset gets it.
    with warehouse.open("a test") as connection:
        yield connection


@pytest.mark.parametrize("passes", [True, False])
def test_what_another_run_has_built_while_we_waited_for_the_lock_is_judged_too(
    instance, warehouse, tmp_path, monkeypatch, passes
):
    built = dg.AssetsDefinition(specs=[dg.AssetSpec(ASSET, tags={"layer": "core"})])
    asset = published_asset(built, BLOCKING, json.loads(manifest_path().read_text()), retry_seconds=0)
    target = tmp_path / "published" / "gtm.duckdb"
    open_ = Warehouse.open

    def after_the_other(self, *asked, **how):
        build(instance, result(passes))
        return open_(self, *asked, **how)

    build(instance, result(True))
    monkeypatch.setattr(Warehouse, "open", after_the_other)
    monkeypatch.setattr(publishing, "known_as_of", lambda _: PUBLICATION.as_of)
    monkeypatch.setattr(publishing, "descriptions", lambda _: {})
    resources = {"warehouse": warehouse, "published_path": target, "certificates": Certificates(tmp_path / "none")}
    ended = dg.materialize([asset], instance=instance, resources=resources, raise_on_error=False)

    assert (ended.success, target.exists()) == (passes, passes)


def test_an_external_table_that_is_gone_keeps_the_published_file_as_it_was(
    instance, warehouse, tmp_path, monkeypatch
):
    built = dg.AssetsDefinition(specs=[dg.AssetSpec(ASSET, tags={"layer": "core"})])
    manifest, lake = json.loads(manifest_path().read_text()), Lake(tmp_path / "lake")
    asset = published_asset(built, BLOCKING, manifest, retry_seconds=0, lake=lake)
    target = tmp_path / "published" / "gtm.duckdb"

    def refused(_, published, asked):
        assert (published, asked) == (target, lake)
        raise PublishError("salesforce.lead has left the external database")

    build(instance, result(True))
    monkeypatch.setattr(publishing, "refuse_vanished", refused)
    monkeypatch.setattr(publishing, "known_as_of", lambda _: PUBLICATION.as_of)
    monkeypatch.setattr(publishing, "descriptions", lambda _: {})
    resources = {"warehouse": warehouse, "published_path": target, "certificates": Certificates(tmp_path / "none")}
    ended = dg.materialize([asset], instance=instance, resources=resources, raise_on_error=False)

    assert (ended.success, target.exists()) == (False, False)


def query(path: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_core_and_mart_are_published_with_their_descriptions_and_where_they_come_from(source, tmp_path):
    target = tmp_path / "published" / "gtm.duckdb"

    rows = publish(source, target, PUBLICATION, {"gtm_core.dim_user": Table("People's", {"user_key": "Key."})})

    assert rows == {"gtm_core.dim_user": 2, "gtm_mart.rep": 1}
    assert query(target, "select users from gtm_mart.rep") == [(2,)]
    assert query(target, "select comment from duckdb_tables() where table_name = 'dim_user'") == [("People's",)]
    assert query(
        target, "select run_id, first_partition, last_partition, batch_count from gtm_meta.publication"
    ) == [("run-1", "2026-09-01", "2026-09-03", 3)]
    assert query(target, "select count(*) from information_schema.tables where table_schema = 'gtm_staging'") == [
        (0,)
    ]
    assert [path.name for path in target.parent.iterdir()] == ["gtm.duckdb"]


def test_the_file_is_written_for_duckdb_1_2_and_later(source, tmp_path):
    target = tmp_path / "gtm.duckdb"

    publish(source, target, PUBLICATION, {})

    # The file's header, behind its checksum and the word DUCK: 65 is what 1.2 reads and writes.
    assert int.from_bytes(target.read_bytes()[12:20], "little") == 65


def test_a_warehouse_of_an_older_format_is_not_published(tmp_path):
    target = tmp_path / "gtm.duckdb"
    with duckdb.connect(str(tmp_path / "older.duckdb")) as source, pytest.raises(PublishError, match="gtm run"):
        publish(source, target, PUBLICATION, {})
    assert not target.exists()


@pytest.mark.parametrize("by", ["this release", "an older release"])
def test_an_external_table_that_is_gone_stops_publishing_until_it_is_forgotten_or_back(by, warehouse, tmp_path):
    source = duckdb.connect(str(warehouse.path))
    target, lake, lead = tmp_path / "gtm.duckdb", Lake(tmp_path / "lake"), TABLES["lead"]

    def land(**rows: int | None) -> None:
        """Tables of the external database with their rows; None where one is missing."""
        source.execute("delete from gtm_meta.external_tables")
        for name, count in rows.items():
            external = None if count is None else name
            row = ["salesforce", name, external, False, count or 0, PUBLICATION.as_of, None, None]
            source.execute("insert into gtm_meta.external_tables values (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def published() -> str:
        try:
            refuse_vanished(source, target, lake)
        except PublishError as error:
            return str(error)
        publish(source, target, PUBLICATION, {})
        return "published"

    def as_an_older_release_published() -> None:
        with duckdb.connect(str(target)) as connection:
            connection.execute("alter table gtm_meta.external_tables rename column external_name to landed_name")
            connection.execute("alter table gtm_meta.external_tables rename to landed_tables")

    told = []
    land(account=5, lead=1200, task=0)
    told.append(published())
    if by == "an older release":
        as_an_older_release_published()
    land(account=4, lead=None, task=None)
    told += [published(), published()]
    lake.forget(lead, PUBLICATION.published_at)
    told.append(published())
    # It is back, and goes again.
    land(account=4, lead=1300, task=None)
    told.append(published())
    land(account=4, lead=None, task=None)
    told.append(published())

    assert [text == "published" for text in told] == [True, False, False, True, True, False]
    assert "salesforce.lead had 1,200 rows in the external database and is not there any more" in told[1]
    assert "gtm source forget salesforce.lead, then gtm run" in told[1]
    assert "task" not in told[1]
    # With the lake in its place nothing has left it.
    land()
    assert published() == "published"


def test_external_tables_of_which_no_row_says_when_it_was_loaded_are_not_published():
    with duckdb.connect() as built:
        built.execute("create schema gtm_meta")
        built.execute("create table gtm_meta.external_now (now_at timestamp with time zone)")
        built.execute("create table gtm_meta.lake_batches (read_until timestamp with time zone)")

        with pytest.raises(
            PublishError, match=r"no row of the external database says when .* Let the loader load rows with"
        ):
            known_as_of(built)


def test_tables_that_could_not_be_read_are_listed(instance, source, tmp_path):
    table, key = OBJECTS[0], asset_key(OBJECTS[0])
    closed, open_ = NotReadable(table, "no permission"), None
    listed = []
    results = iter(
        readable(table, refusal).result(dg.AssetCheckKey(key, READABLE_CHECK)) for refusal in (closed, open_)
    )

    @dg.asset(key=key, check_specs=[dg.AssetCheckSpec(READABLE_CHECK, asset=key)])
    def raw() -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[next(results)])

    for _ in (closed, open_):
        dg.materialize([raw], instance=instance)
        unreadable = unreadable_tables(instance, [dg.AssetCheckKey(key, READABLE_CHECK), CHECK])
        publish(source, tmp_path / "gtm.duckdb", dataclasses.replace(PUBLICATION, unreadable=unreadable), {})
        listed.append(query(tmp_path / "gtm.duckdb", "select * from gtm_meta.unreadable_tables"))

    assert listed == [[("salesforce", table.name, "no permission")], []]


def test_batches_after_the_instant_are_not_among_those_it_was_built_from(source, tmp_path):
    target = tmp_path / "gtm.duckdb"
    earlier = dataclasses.replace(PUBLICATION, as_of=boundary(date(2026, 9, 3)))

    publish(source, target, earlier, {})

    assert query(target, "select last_partition, batch_count from gtm_meta.publication") == [("2026-09-02", 2)]


def test_a_reader_keeps_reading_while_a_new_file_is_published(source, tmp_path):
    target = tmp_path / "gtm.duckdb"
    publish(source, target, PUBLICATION, {})

    with duckdb.connect(str(target), read_only=True) as reader:
        later = dataclasses.replace(PUBLICATION, run_id="run-2")
        publish(source, target, later, {})
        assert reader.execute("select run_id from gtm_meta.publication").fetchone() == ("run-1",)

    assert query(target, "select run_id from gtm_meta.publication") == [("run-2",)]


def test_a_full_disk_leaves_the_published_file_as_it_was(source, tmp_path, monkeypatch):
    target = tmp_path / "gtm.duckdb"
    publish(source, target, PUBLICATION, {})
    before = target.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing.os, "fsync", full)
    with pytest.raises(PublishError, match=r"was not replaced: .*No space left"):
        publish(source, target, PUBLICATION, {})

    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".gtm*"))


PUBLISHED = [
    "gtm_core.dim_user",
    "gtm_mart.rep",
    "gtm_meta.certified_datasets",
    "gtm_meta.checks",
    "gtm_meta.cost_daily",
    "gtm_meta.external_tables",
    "gtm_meta.findings",
    "gtm_meta.keys",
    "gtm_meta.publication",
    "gtm_meta.published_partitions",
    "gtm_meta.quarantine",
    "gtm_meta.tables_not_read",
    "gtm_meta.unreadable_tables",
]
"""All that is published of the warehouse of these tests."""


def test_nothing_is_published_but_core_and_mart_and_what_is_said_of_them(warehouse, tmp_path):
    with duckdb.connect(str(warehouse.path)) as built:
        # What dbt leaves behind where it is killed, and what it writes beside its models.
        built.execute("create table gtm_core.dim_user__dbt_backup as from gtm_core.dim_user")
        built.execute("create table gtm_mart.rep__dbt_tmp as select 1 as users")
        built.execute("create schema dbt_test__audit; create table dbt_test__audit.failures as select 1 as row")
        built.execute("create view gtm_staging.on_core as from gtm_core.dim_user")
    target = tmp_path / "gtm.duckdb"

    with warehouse.open("a test") as source:
        rows = publish(source, target, PUBLICATION, {})

    assert list(rows) == PUBLISHED[:2]
    assert query(target, "select schema_name || '.' || table_name from duckdb_tables() order by 1") == [
        (name,) for name in PUBLISHED
    ]
    assert query(target, "select view_name from duckdb_views() where not internal") == []
    schemas = "select schema_name from duckdb_schemas() where database_name = 'gtm' and not internal order by 1"
    assert {name for (name,) in query(target, schemas)} - {"main"} == {"gtm_core", "gtm_mart", "gtm_meta"}


def test_what_is_published_is_compact(warehouse, tmp_path, monkeypatch):
    """Most of the warehouse's file is free: its tables were built anew."""
    with duckdb.connect(str(warehouse.path)) as built:
        for _ in range(3):
            built.execute("create table gtm_core.new as select md5(i::varchar) as text from range(300000) r(i)")
            built.execute("drop table if exists gtm_core.fct; alter table gtm_core.new rename to fct; checkpoint")
        built.execute("create table gtm_core.small as select md5(i::varchar) as text from range(3000) r(i)")
        built.execute("drop table gtm_core.fct; checkpoint; create table gtm_core.at_the_end as select 1 as key")
    target, size = tmp_path / "gtm.duckdb", warehouse.path.stat().st_size

    # As each build ends.
    monkeypatch.setattr(files, "FREE_BLOCKS", 0)
    compact(warehouse.path)
    with warehouse.open("a test") as source:
        rows = publish(source, target, PUBLICATION, {})

    assert rows["gtm_core.small"] == 3000 and size > 5 * 2**20
    assert target.stat().st_size < size / 2 and warehouse.path.stat().st_size < size / 2


def test_what_was_only_logged_when_a_build_was_killed_is_published(warehouse, tmp_path):
    """The publisher opens the warehouse for reading: DuckDB leaves its log as it is."""
    program = (
        "import duckdb, os, sys; connection = duckdb.connect(sys.argv[1]);"
        "connection.execute('insert into gtm_core.dim_user values (3)'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, warehouse.path]).returncode == 9
    target = tmp_path / "gtm.duckdb"

    with duckdb.connect(str(warehouse.path), read_only=True) as source:
        rows = publish(source, target, PUBLICATION, {})

    assert rows == {"gtm_core.dim_user": 3, "gtm_mart.rep": 1}
    assert query(target, "select users from gtm_mart.rep") == [(3,)]
    assert not list(tmp_path.glob("*gtm.duckdb*.wal"))


KILLED = """
import os, pathlib, shutil, sys
import gtm_assets.publishing.publish as publishing
from gtm_assets_tests.test_publish import PUBLICATION

home = pathlib.Path(sys.argv[1])
die = lambda *_, **__: os._exit(9)
steps = {
    "half of the file is copied": lambda: setattr(publishing.shutil, "copyfileobj", half),
    "the file is copied": lambda: setattr(publishing, "_finish", die),
    "the rest is dropped": lambda: setattr(publishing, "_say_whence", die),
    "all is written": lambda: setattr(publishing.os, "fsync", die),
    "it is on the disk": lambda: setattr(pathlib.Path, "replace", die),
}

def half(file, copy, _):
    copy.write(file.read(300_000))
    copy.flush()
    os._exit(9)

for step, kill in steps.items():
    child = os.fork()
    if not child:
        kill()
        source = publishing.duckdb.connect(str(home / "warehouse.duckdb"), read_only=True)
        publishing.publish(source, home / "gtm.duckdb", PUBLICATION, {})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, step
    left = list(home.glob(".gtm.duckdb.tmp*"))
    print(step, len(left) > 0, (home / "gtm.duckdb").read_bytes() == (home / "before").read_bytes(), sep="|")
"""


def test_a_publisher_that_is_killed_at_any_step_leaves_the_published_file_as_it_was(warehouse, tmp_path):
    target = tmp_path / "gtm.duckdb"
    with warehouse.open("a test") as source:
        publish(source, target, PUBLICATION, {})
    (tmp_path / "before").write_bytes(target.read_bytes())

    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert [line.split("|")[1:] for line in ended.stdout.splitlines()] == [["True", "True"]] * 5
    # What they left is in nobody's way.
    with warehouse.open("a test") as source:
        publish(source, target, dataclasses.replace(PUBLICATION, run_id="run-2"), {})
    assert query(target, "select run_id from gtm_meta.publication") == [("run-2",)]
    assert not list(tmp_path.glob(".gtm*"))
