"""`GTM_ENGINE=postgres gtm run`: what is built, proven and published there equals what DuckDB has."""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from gtm_assets.engines.registry import engine_of
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets_tests.browser import free_port
from gtm_assets_tests.dbt_harness import TABLES
from gtm_assets_tests.gtm_process import FIRST_END, GtmHome, differences, tables
from gtm_assets_tests.postgres_server import database, needs_postgres, running
from gtm_assets_tests.postgres_tables import connected, differing, query
from gtm_assets_tests.test_gtm_run import say_until

pytestmark = [needs_postgres, pytest.mark.slow]

PUBLIC = ("gtm_core", "gtm_mart")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running() as address:
        yield address


def home_at(path: Path, address: str, **settings: str) -> GtmHome:
    given = {"GTM_ENGINE": "postgres", "GTM_WAREHOUSE_URL": address, **settings}
    return GtmHome(path, (*GtmHome(path).settings, *given.items()))


def settings_of(home: GtmHome) -> Any:
    return load_settings({**dict(home.settings), "GTM_HOME": str(home.path)})


@pytest.fixture(scope="module")
def built(server, built_home, tmp_path_factory) -> GtmHome:
    """A state folder after two runs on PostgreSQL: of two partitions, then of the third."""
    home = home_at(tmp_path_factory.mktemp("postgres") / "gtm", server)
    later = [
        f"partition={day}" for day in Lake(built_home.path / "lake").partitions(TABLES["user"]) if day > FIRST_END
    ]
    shutil.copytree(built_home.path / "lake", home.path / "lake", ignore=shutil.ignore_patterns(*later))
    first = GtmHome(home.path, (*home.settings, ("GTM_END_DATE", FIRST_END))).run().check()
    shutil.copytree(built_home.path / "lake", home.path / "lake", dirs_exist_ok=True)
    second = home.run().check()
    home.output_file.write_text(first.output + second.output)
    return home


def test_all_tables_equal_duckdbs_after_a_first_and_an_incremental_run(server, built, built_home):
    assert differing(server, built_home.warehouse, more_than=130) == {}


def test_what_is_published_equals_duckdbs_as_a_file_and_in_the_database(server, built, built_home):
    of_both = [tables(home.published, lambda schema: schema in PUBLIC) for home in (built, built_home)]
    assert differences(*of_both) == []
    assert differing(server, built_home.published, schemas=PUBLIC, places="gtm_published", more_than=35) == {}
    with connected(server) as cursor, closing(duckdb.connect(str(built.published), read_only=True)) as file:
        said = "select run_id, as_of, checks_passed, checks_warned, first_partition, last_partition, batch_count"
        assert query(cursor, f"{said} from gtm_published_meta.publication") == (
            file.execute("set TimeZone = 'UTC'").execute(f"{said} from gtm_meta.publication").fetchall()
        )
        [(text,)] = query(cursor, "select obj_description('gtm_published_core.dim_account'::regclass)")
        assert text.startswith("Companies as they are now. One row per account")


def test_the_checks_say_the_same_of_both(built, built_home):
    found = [
        [finding for finding in tables(home.published)["gtm_meta.findings"] if finding[0].startswith("gtm_")]
        for home in (built, built_home)
    ]
    assert found[0] == found[1] and found[0]


def test_a_run_with_nothing_new_does_nothing(built):
    assert "unchanged  all stands" in built.run().check().output


@pytest.mark.nightly
def test_a_run_after_somebody_else_has_written_builds_and_proves_anew(server, built, built_home):
    with connected(server) as cursor:
        cursor.execute("update gtm_core.dim_user set user_name = 'Somebody' where user_key <> 'unknown'")
        # A history is built on what is there.
        cursor.execute("delete from gtm_core.dim_account_scd2 where is_current")
        cursor.connection.commit()
    again = built.run().check()

    assert "unchanged  all stands" not in again.output
    assert differing(server, built_home.warehouse, more_than=130) == {}
    [said] = [line for line in log_of(built) if "Somebody else has written" in line]
    assert "written gtm_core.dim_account_scd2, gtm_core.dim_user since the last build" in said


def log_of(home: GtmHome) -> list[str]:
    """What the newest run wrote to Dagster's log."""
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        [newest] = instance.get_runs(limit=1)
        return [entry.user_message for entry in instance.all_logs(newest.run_id)]


def test_doctor_says_which_database_it_can_build_on(built):
    said = built.in_process("doctor")
    assert re.search(
        r"The warehouse PostgreSQL at 127\.0\.0\.1:\d+/gtm, schemas gtm_\* can be opened", said.output
    )


@pytest.mark.nightly
def test_as_of_an_earlier_day_gives_duckdbs_file_and_leaves_no_schema(server, built, built_home, tmp_path):
    other = GtmHome(tmp_path / "gtm")
    shutil.copytree(built_home.path / "lake", other.path / "lake")
    shutil.copy(built_home.path / "calendar.json", other.path)
    files = []
    for home in (built, other):
        home.run("--as-of", FIRST_END).check()
        files += [next((home.path / "as_of").glob("*.duckdb"))]

    assert differences(*(tables(file, lambda schema: schema in PUBLIC) for file in files)) == []
    with connected(server) as cursor:
        assert query(cursor, "select 1 from pg_namespace where nspname like 'gtm_as_of_%'") == []


@pytest.mark.nightly
def test_days_more_and_everything_anew_give_what_duckdb_publishes(tmp_path):
    with running() as address:
        homes = home_at(tmp_path / "postgres" / "gtm", address), GtmHome(tmp_path / "duckdb" / "gtm")
        for end, arguments in [
            ("2026-09-10", []),
            ("2026-09-11", []),
            ("2026-09-12", []),
            ("2026-09-13", []),
            ("2026-09-13", ["--full-refresh"]),
        ]:
            for home in homes:
                GtmHome(home.path, (*home.settings, ("GTM_END_DATE", end))).run(*arguments).check()
            duckdb_home = homes[1]
            assert differing(address, duckdb_home.warehouse, more_than=130) == {}, end
            published = {"schemas": PUBLIC, "places": "gtm_published", "more_than": 35}
            assert differing(address, duckdb_home.published, **published) == {}, end


@pytest.mark.nightly
def test_killed_at_any_moment_the_next_run_gives_duckdbs_tables(built_home, tmp_path):
    chance = random.Random(20261129)
    with running() as address:
        home = home_at(tmp_path / "gtm", address)
        shutil.copytree(built_home.path / "lake", home.path / "lake")
        for times in (1, 20, 60, 100, 130):
            process = home.start("run")
            output = say_until(process, "built ", times)
            time.sleep(chance.uniform(0, 0.5))
            assert process.poll() is None, output
            process.kill()
            process.communicate()
        home.run().check()
        assert differing(address, built_home.warehouse, more_than=130) == {}


# -- the engine ------------------------------------------------------------------------------------------------


def engine_at(address: str, home: Path, env: str = "dev") -> Any:
    given = {"GTM_ENGINE": "postgres", "GTM_WAREHOUSE_URL": address, "GTM_ENV": env, "GTM_HOME": str(home)}
    return engine_of(load_settings(given))


@pytest.fixture
def engine(server, tmp_path) -> Iterator[Any]:
    """An engine with a table, and a view that reads it, in a developer's schemas."""
    with database(server) as address:
        engine = engine_at(address, tmp_path / "gtm")
        engine.path.parent.mkdir()
        execute(
            engine,
            "create schema gtm_core",
            "create schema gtm_mart",
            "create schema gtm_meta",
            "create table gtm_core.dim_user (user_key varchar, amount numeric(18, 2), seen_at timestamptz)",
            "create view gtm_mart.rep_users as select sum(amount) as amount from gtm_core.dim_user",
            "insert into gtm_core.dim_user values ('a', 1.10, '2026-01-01 00:00+00'), ('b', null, null)",
        )
        yield engine


def execute(engine: Any, *statements: str) -> list[Any]:
    """What the last of the statements gave. ``gtm_core`` is the engine's own, whatever it is called."""
    with engine.connect() as connection:
        return [connection.execute(statement) for statement in statements][-1].fetchall()


WRITTEN = (
    "insert into gtm_core.dim_user values ('c', 1, null)",
    "update gtm_core.dim_user set amount = 2 where user_key = 'b'",
    "delete from gtm_core.dim_user where user_key = 'a'",
    "create or replace view gtm_mart.rep_users as select max(amount) as amount from gtm_core.dim_user",
    "truncate gtm_core.dim_user",
    "create table gtm_mart.somebodys (x integer)",
    "drop view gtm_mart.rep_users",
)


def test_whatever_somebody_writes_changes_the_stamp_and_reading_does_not(engine):
    def stamp() -> str:
        return json.dumps(engine.stamp(), sort_keys=True)

    stamps = [stamp()]
    for statement in WRITTEN:
        execute(engine, statement)
        execute(engine, "select * from gtm_core.dim_user")
        stamps.append(stamp())
        assert stamp() == stamps[-1]
    assert len(set(stamps)) == len(WRITTEN) + 1


def test_the_content_of_a_table_is_its_columns_types_and_rows_whatever_their_order(engine):
    def content(query: str) -> str:
        execute(engine, "drop table if exists gtm_core.t", f"create table gtm_core.t as {query}")
        with engine.connect() as connection:
            schema = f"{engine.schema_prefix}core"
            return str(engine.content_of(connection, "gtm", schema, "t"))

    rows = "select * from (values (1, 'a'), (2, 'b'), (2, 'b')) as v (x, y)"
    assert content(rows) == content(f"{rows} order by x desc")
    others = [
        "select * from (values (1, 'a'), (2, 'b')) as v (x, y)",
        "select * from (values (1, 'a'), (1, 'a'), (2, 'b')) as v (x, y)",
        "select * from (values (1, 'b'), (2, 'a'), (2, 'b')) as v (x, y)",
        "select cast(x as bigint) as x, y from (values (1, 'a'), (2, 'b'), (2, 'b')) as v (x, y)",
        "select x, y as z from (values (1, 'a'), (2, 'b'), (2, 'b')) as v (x, y)",
        "select * from (values (1, null), (2, 'b'), (2, 'b')) as v (x, y)",
    ]
    assert len({content(query) for query in [rows, *others]}) == len(others) + 1


def test_two_builds_of_one_environment_wait_for_each_other_and_those_of_two_do_not(engine, tmp_path):
    address = engine.address
    other = engine_at(address, tmp_path / "other")
    said, entered, leave = [], threading.Event(), threading.Event()

    def second() -> None:
        with other.held("run 2", said.append):
            entered.set()
            leave.wait(30)

    with engine.held("run 1", said.append), engine_at(address, tmp_path, "prod").held("run 3", said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(1)
        assert re.match(
            r"The warehouse is in use by gtm: run 1 from 127\.0\.0\.1, since .* UTC\. Waiting", said[0]
        )
    assert entered.wait(30)
    leave.set()
    thread.join()
    assert len(said) == 1


def test_checks_read_each_table_that_they_name_and_fetch_it_where_it_has_changed(engine):
    def read(sql: str, contents: Mapping[str, str]) -> list[tuple]:
        with engine.reading(contents) as copy:
            return copy.execute(sql).fetchall()

    users = "select user_key, amount, seen_at, typeof(amount) from gtm_core.dim_user order by user_key"
    first = read(users, {"dim_user": "one"})
    assert first == [
        ("a", Decimal("1.10"), datetime(2026, 1, 1, tzinfo=UTC), "DECIMAL(18,2)"),
        ("b", None, None, "DECIMAL(18,2)"),
    ]
    execute(engine, "update gtm_core.dim_user set amount = 2")
    # It is not fetched while nothing says that it holds something else.
    assert read(users, {"dim_user": "one"}) == first
    assert [row[1] for row in read(users, {"dim_user": "two"})] == [2, 2]
    # What a table holds that nothing is known of may have changed.
    execute(engine, "update gtm_core.dim_user set amount = 3")
    assert [row[1] for row in read(users, {})] == [3, 3]
    assert read("select * from gtm_mart.rep_users", {}) == [(6,)]


def test_a_server_that_is_away_or_a_wrong_password_is_said_without_the_password(tmp_path):
    home = home_at(tmp_path / "gtm", f"postgresql://gtm:hidden@127.0.0.1:{free_port()}/sales")
    said = home.in_process("doctor").output

    assert re.search(r"PostgreSQL at 127\.0\.0\.1:\d+/sales can't be reached .*mend GTM_WAREHOUSE_URL", said)
    assert "hidden" not in said


@pytest.mark.nightly
def test_a_person_is_erased_from_the_servers_tables_and_all_numbers_stay(server, built, built_home, tmp_path):
    from gtm_assets_tests.test_gtm_erase import holders, numbers, person_in

    _, email, name = person_in(built.published)
    kept = shutil.copytree(built.path, tmp_path / "gtm")
    home = home_at(kept, server)
    before = numbers(home.published)

    def naming() -> set[str]:
        found = set()
        with connected(server) as cursor:
            texts = query(
                cursor,
                "select cast(pg_class.oid as regclass)::text, quote_ident(attname) from pg_attribute"
                " inner join pg_class on pg_class.oid = attrelid"
                " where relkind = 'r' and atttypid in ('text'::regtype, 'varchar'::regtype)"
                " and attnum > 0 and not attisdropped and starts_with(relnamespace::regnamespace::text, 'gtm_')",
            )
            for table, column in texts:
                sql = f"select exists (from {table} where {column} ilike '%{email}%' or {column} ilike '%{name}%')"
                if query(cursor, sql.replace("(from", "(select from"))[0][0]:
                    found.add(table.split(".")[0])
        return found

    assert {"gtm_raw", "gtm_staging", "gtm_core", "gtm_published_core"} <= naming()
    home.command("erase", "--email", email, "--yes").check()
    assert naming() == set() and holders(home.path, email, name) == []
    assert numbers(home.published) == before
