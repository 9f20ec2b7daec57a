"""What is published, brought to a PostgreSQL server: equal to the file, all at once, and only what differs."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gtm_assets.dbt.project import manifest_path
from gtm_assets.engines.engine import EngineError, Table
from gtm_assets.publishing.publish import descriptions
from gtm_assets_tests.browser import free_port
from gtm_assets_tests.gtm_process import GtmHome
from gtm_assets_tests.postgres_server import database, needs_postgres, running
from gtm_assets_tests.postgres_tables import connected, differing, query
from gtm_assets_tests.test_gtm_run import say_until

pytestmark = [needs_postgres, pytest.mark.slow]

SERVED = ("gtm_core", "gtm_mart", "gtm_meta")
SEEN = """
select publication.run_id, publication.batch_count, facts.row_count, users.row_count, deals.amount
from gtm_published_meta.publication
cross join (select count(*) as row_count from gtm_published_core.fct_activity) as facts
cross join (select count(*) as row_count from gtm_published_core.dim_user_scd2) as users
cross join (select sum(amount) as amount from gtm_published_core.fct_opportunity) as deals
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running() as address:
        yield address


@pytest.fixture
def address(server) -> Iterator[str]:
    with database(server) as address:
        yield address


@pytest.fixture(scope="module")
def described() -> dict[str, Table]:
    import json

    return descriptions(json.loads(manifest_path().read_text()))


@pytest.fixture
def copying(address, tmp_path) -> Any:
    return copying_to(address, tmp_path)


def copying_to(address: str, folder: Path) -> Any:
    from gtm_assets.engines.postgres_server import Server
    from gtm_assets.serving.copying import Copying

    return Copying(Server(address, "GTM_SERVE_URL"), "gtm_", folder / "served" / "postgres.duckdb")


def equal(address: str, published: Path) -> bool:
    return differing(address, published, more_than=40, schemas=SERVED, places="gtm_published") == {}


def test_two_publications_are_served_row_for_row_and_only_what_differs_travels(
    address, copying, built_home, described
):
    first = copying.serve(built_home.first_publication, described)
    assert equal(address, built_home.first_publication)
    second = copying.serve(built_home.published, described)
    assert equal(address, built_home.published)
    third = copying.serve(built_home.published, described)

    assert second.rows_sent < first.rows_sent / 2
    assert (third.rows_sent, third.changed) == (0, [])
    assert 0 < second.rows_changed <= 2 * second.rows_sent


def test_what_is_served_has_keys_indexes_descriptions_and_exact_types(address, copying, built_home, described):
    copying.serve(built_home.published, described)
    with connected(address) as cursor:

        def listed(sql: str) -> set[str]:
            return {row[0] for row in query(cursor, sql)}

        constraints = (
            "select conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) from pg_constraint where"
        )
        assert "gtm_published_core.dim_user PRIMARY KEY (user_key)" in listed(f"{constraints} contype = 'p'")
        keyless = "select relname from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid"
        assert listed(
            f"{keyless} where nspname in ('gtm_published_core', 'gtm_published_mart') and relkind = 'r'"
            " and not exists (select from pg_constraint where conrelid = pg_class.oid and contype = 'p')"
        ) == {"rep_sales_funnel_monthly"}
        foreign = listed(f"{constraints} contype = 'f' and convalidated")
        assert (
            "gtm_published_core.fct_opportunity FOREIGN KEY (owner_user_key)"
            " REFERENCES gtm_published_core.dim_user(user_key) DEFERRABLE INITIALLY DEFERRED"
        ) in foreign
        assert len(foreign) > 60
        indexed = listed(
            "select tablename || '.' || indexdef from pg_indexes where schemaname = 'gtm_published_core'"
        )
        assert any("fct_opportunity" in one and "(close_date)" in one for one in indexed)
        undescribed = "select attrelid::regclass::text || '.' || attname from pg_attribute"
        assert not listed(
            f"{undescribed} inner join pg_class on attrelid = pg_class.oid inner join pg_namespace"
            " on relnamespace = pg_namespace.oid where nspname in ('gtm_published_core', 'gtm_published_mart')"
            " and relkind = 'r' and attnum > 0 and not attisdropped and col_description(attrelid, attnum) is null"
        )
        types = "select attname, format_type(atttypid, atttypmod) from pg_attribute where attnum > 0 and attrelid"
        opportunity = dict(query(cursor, f"{types} = 'gtm_published_core.fct_opportunity'::regclass"))
        assert (opportunity["amount"], opportunity["created_at"]) == ("numeric(24,6)", "timestamp with time zone")


def test_without_the_file_that_was_served_last_all_rows_are_compared_on_the_server(
    address, copying, built_home, described
):
    copying.serve(built_home.first_publication, described)
    shutil.rmtree(copying.kept.parent)
    again = copying.serve(built_home.published, described)
    assert equal(address, built_home.published)
    assert again.rows_changed < again.rows_sent / 2


def test_a_server_that_somebody_has_written_fails_the_check_and_is_put_right_by_the_next_run(
    address, copying, built_home, described
):
    from gtm_assets.serving.assets import is_what_is_published

    copying.serve(built_home.published, described)
    with connected(address) as cursor:
        cursor.execute(
            "update gtm_published_core.fct_opportunity set amount = amount + 0.01 where opportunity_id ="
            " (select min(opportunity_id) from gtm_published_core.fct_opportunity where amount is not null)"
        )
        cursor.connection.commit()
    found = is_what_is_published(copying.server, "gtm_", built_home.published)
    assert not found.passed and "gtm_core.fct_opportunity amount: " in found.sentence
    copying.kept.unlink()
    copying.serve(built_home.published, described)
    assert is_what_is_published(copying.server, "gtm_", built_home.published).passed


def test_readers_see_all_of_one_publication_while_another_comes(address, copying, built_home, described):
    publications = (built_home.first_publication, built_home.published)
    copying.serve(publications[0], described)
    stop, seen, waits, troubles = threading.Event(), set(), [], []

    def read() -> None:
        try:
            with connected(address) as cursor:
                while not stop.is_set():
                    began = time.monotonic()
                    seen.update(tuple(map(str, row)) for row in query(cursor, SEEN))
                    waits.append(time.monotonic() - began)
                    cursor.connection.commit()
        except Exception as error:
            troubles.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(4):
        copying.serve(publications[(turn + 1) % 2], described)
    stop.set()
    for thread in threads:
        thread.join()

    assert troubles == []
    assert seen == {of_file(publication) for publication in publications}


def of_file(path: Path) -> tuple[str, ...]:
    with duckdb.connect(str(path), read_only=True) as file:
        [row] = file.execute(SEEN.replace("gtm_published_", "gtm_")).fetchall()
    return tuple(map(str, row))


def _serve(address: str, folder: Path, published: Path, described: dict[str, Table]) -> None:
    copying_to(address, folder).serve(published, described)


@pytest.mark.parametrize(
    "times", [pytest.param(1, id="once"), pytest.param(5, id="5_times", marks=pytest.mark.nightly)]
)
def test_killed_at_any_moment_people_read_what_they_read_before(
    address, copying, built_home, described, tmp_path, times
):
    began = time.monotonic()
    copying.serve(built_home.first_publication, described)
    seconds = time.monotonic() - began
    before, chance = of_file(built_home.first_publication), random.Random(20261129)
    for _ in range(times):
        own = (address, tmp_path, built_home.published, described)
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=own)
        process.start()
        time.sleep(1 + chance.uniform(0, seconds))
        process.kill()
        process.join()
        with connected(address) as cursor:
            [row] = query(cursor, SEEN)
            assert tuple(map(str, row)) in (before, of_file(built_home.published))
    copying.serve(built_home.published, described)
    assert equal(address, built_home.published)
    with connected(address) as cursor:
        # Temporary tables go with the session.
        assert query(cursor, "select count(*) from pg_class where relname like 'gtm_core.%'") == [(0,)]


def test_a_server_that_can_not_be_written_is_said(address, copying, built_home, described, monkeypatch):
    from gtm_assets.engines import postgres_server

    server = copying.server
    server.examine()
    monkeypatch.setattr(postgres_server, "OLDEST", 99)
    with pytest.raises(EngineError, match="take 99 or later"):
        server.examine()
    monkeypatch.undo()
    name = address.rpartition("/")[2]
    with connected(address) as cursor:
        cursor.execute(f"alter database {name} set default_transaction_read_only = on")
        cursor.connection.commit()
    with pytest.raises(EngineError, match="can only be read"):
        server.examine()
    away = copying_to(f"postgresql://gtm:hidden@127.0.0.1:{free_port()}/sales", Path("/nowhere"))
    with pytest.raises(EngineError, match=r"can't be reached .*mend GTM_SERVE_URL") as refused:
        away.server.examine()
    assert "hidden" not in str(refused.value)


def test_a_type_that_postgresql_does_not_have_is_named_and_nothing_changes(address, copying, tmp_path):
    from gtm_assets.serving.copying import ServeError

    file = tmp_path / "published.duckdb"
    with duckdb.connect(str(file)) as published:
        published.execute("create schema gtm_core; create table gtm_core.dim_user as select [1] as numbers")
    with pytest.raises(ServeError, match=r"gtm_core\.dim_user\.numbers is of type INTEGER\[\]"):
        copying.serve(file, {})
    with pytest.raises(ServeError, match=r"nothing is published at .*missing\.duckdb"):
        copying.serve(tmp_path / "missing.duckdb", {})
    with connected(address) as cursor:
        assert query(cursor, "select count(*) from pg_namespace where nspname like 'gtm%'") == [(0,)]


@pytest.mark.nightly
def test_gtm_run_serves_what_it_publishes_and_another_server_that_is_named(server, built_home, tmp_path):
    home = tmp_path / "gtm"
    shutil.copytree(built_home.path, home)
    with database(server) as one, database(server) as other:
        for address in (one, other):
            served = GtmHome(home, (*GtmHome(home).settings, ("GTM_SERVE_URL", address)))
            said = served.run().check().output
            assert "served     PostgreSQL at 127.0.0.1:" in said
            assert equal(address, served.published)
            # No access file is in force, so that nothing is logged yet: it fails, and blocks nothing.
            assert "reads_are_audited" in said and "Run: gtm access apply" in said.replace("\n", " ")
            said = served.run().check().output
            assert "unchanged  all stands" in said


@pytest.mark.nightly
def test_gtm_serve_starts_a_server_of_its_own_until_it_is_ended(built_home, tmp_path):
    folder = Path("/tmp") / f"gtm-serve-{os.getpid()}"
    shutil.copytree(built_home.path, folder)
    try:
        process = GtmHome(folder).start("serve", "--port", str(free_port()))
        try:
            said = say_until(process, "           Ctrl-C stops", 1)
            assert "served     PostgreSQL at 127.0.0.1:" in said
            address = (folder / "postgres" / "address").read_text()
            assert equal(address, folder / "published" / "gtm.duckdb")
            assert (folder / "postgres" / "address").stat().st_mode & 0o077 == 0
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        with pytest.raises(Exception, match="refused"), connected(address):
            pass
    finally:
        shutil.rmtree(folder)


def test_rows_that_were_erased_leave_no_old_versions_on_the_server_and_what_is_left_is_found(address, tmp_path):
    from adbc_driver_postgresql import dbapi

    from gtm_assets.privacy.search import Wanted
    from gtm_assets.privacy.served import servers_of, tidy_up_and_search
    from gtm_assets.settings import load_settings

    email, table = "jane@acme.example", "gtm_published_core.dim_contact"

    def told(*statements: str) -> list[tuple]:
        with dbapi.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def file() -> bytes:
        where = f"current_setting('data_directory') || '/' || pg_relation_filepath('{table}')"
        return Path(told("checkpoint", f"select {where}")[0][0]).read_bytes()

    told(
        "create schema gtm_published_core",
        f"create table {table} (id text, email text)",
        f"insert into {table} values ('1', '{email}'), ('2', null)",
        "select 1",
    )
    told(
        "create schema gtm_audit",
        "create table gtm_audit.data_access (login text, statement text)",
        "insert into gtm_audit.data_access values"
        f" ('rita', 'select * from v where email = ''{email.upper()}'' or a'),"
        " ('rita', 'select 1')",
        "select 1",
    )
    (server,) = servers_of(load_settings({"GTM_SERVE_URL": address, "GTM_HOME": str(tmp_path)}))
    tables, hits = tidy_up_and_search(server, "gtm_", Wanted([email]))
    assert told("select statement from gtm_audit.data_access order by 1") == [
        ("select * from v where email = '*****************' or a",),
        ("select 1",),
    ]
    assert tables == 2 and [hit.where for hit in hits] == [f"{table}, column email"]
    told(f"update {table} set email = null", "select 1")
    assert email.encode() in file()
    assert tidy_up_and_search(server, "gtm_", Wanted([email])) == (2, [])
    assert email.encode() not in file()
