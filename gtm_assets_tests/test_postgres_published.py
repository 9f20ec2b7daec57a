"""What people read in PostgreSQL while it is published anew, and what is left of a publication that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtm_assets.engines.engine import EngineError, Table
from gtm_assets.engines.registry import engine_of
from gtm_assets.settings import load_settings
from gtm_assets_tests.postgres_server import database, needs_postgres, running

pytestmark = [needs_postgres, pytest.mark.slow]

USERS = "gtm_published_core.dim_user"
DESCRIBED = {
    "gtm_core.dim_user": Table("People's.", {"user_key": "Key."}, "user_key"),
    "gtm_mart.rep_users": Table("Of one row.", {}),
    "gtm_mart.not_built": Table("", {}),
}
SEEN = """
select publication.number, min(dim_user.amount), max(dim_user.amount), min(rep_users.amount) / count(*)
from gtm_published_meta.publication, gtm_published_core.dim_user, gtm_published_mart.rep_users
group by publication.number
"""
"""Of three tables in three schemas, values that are one number in all of them after each publication."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running() as address:
        yield address


@pytest.fixture
def engine(server, tmp_path) -> Iterator[Any]:
    """An engine with a table, and a view that reads it, published as number 0."""
    with database(server) as address:
        given = {"GTM_ENGINE": "postgres", "GTM_WAREHOUSE_URL": address, "GTM_HOME": str(tmp_path / "gtm")}
        engine = engine_of(load_settings(given))
        execute(
            engine,
            "create schema gtm_core",
            "create schema gtm_mart",
            "create table gtm_core.dim_user (user_key varchar, amount numeric(18, 2))",
            "create view gtm_mart.rep_users as select sum(amount) as amount from gtm_core.dim_user",
            "insert into gtm_core.dim_user values ('a', 0), ('b', 0)",
        )
        publish(engine, 0)
        yield engine


def execute(engine: Any, *statements: str) -> list[Any]:
    """What the last of the statements gave."""
    with engine.connect() as connection:
        return [connection.execute(statement) for statement in statements][-1].fetchall()


def publish(engine: Any, number: int) -> None:
    said = Path(engine.path).with_name(f"said-{number}.duckdb")
    said.parent.mkdir(exist_ok=True)
    with duckdb.connect(str(said)) as file:
        file.execute(f"create schema gtm_meta; create table gtm_meta.publication as select {number} as number")
    engine.publish(said, DESCRIBED)
    said.unlink()


def refused(engine: Any) -> str:
    """What is said where a publication fails; nothing of it is seen."""
    before = execute(engine, SEEN)
    with pytest.raises(EngineError) as refused:
        publish(engine, 99)
    assert execute(engine, SEEN) == before
    assert execute(engine, "select attname from pg_attribute where attname like '%next%'") == []
    return str(refused.value)


@contextmanager
def readers(engine: Any, query: str, count: int) -> Iterator[list[Any]]:
    """What so many readers see meanwhile who query all the time, and for how many seconds each query took.

    An error that one of them gets is raised.
    """
    stop, seen, troubles = threading.Event(), [], []

    def read() -> None:
        try:
            with engine.connect() as connection:
                while not stop.is_set():
                    began = time.monotonic()
                    rows = connection.execute(query).fetchall()
                    seen.append((rows, time.monotonic() - began))
        except Exception as error:
            troubles.append(error)

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert troubles == []


@contextmanager
def transaction(engine: Any, query: str) -> Iterator[Any]:
    """A cursor within a transaction that keeps to what it saw when it executed ``query``."""
    with closing(engine._server.open(autocommit=False)) as connection, connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read")
        cursor.execute(query)
        cursor.fetchall()
        yield cursor
        connection.rollback()


@pytest.mark.parametrize(
    ("count", "last"),
    [pytest.param(8, 8, id="8_readers"), pytest.param(48, 20, id="48_readers", marks=pytest.mark.nightly)],
)
def test_readers_see_all_of_one_publication_never_wait_and_get_no_error(engine, count, last):
    with readers(engine, SEEN, count) as seen, transaction(engine, SEEN) as long:
        for number in range(1, last + 1):
            execute(engine, f"update gtm_core.dim_user set amount = {number}")
            publish(engine, number)
            time.sleep(0.05)
        long.execute(SEEN)
        assert [float(value) for value in long.fetchall()[0]] == [0, 0, 0, 0]

    mixed = [rows for rows, _ in seen if len(rows) != 1 or len({float(value) for value in rows[0]}) != 1]
    assert mixed == []
    assert {rows[0][0] for rows, _ in seen} > {0, 2, last // 2}
    assert [float(value) for value in execute(engine, SEEN)[0]] == [last] * 4


def test_columns_come_and_go_beside_readers(engine):
    with readers(engine, f"select count(*), min(amount), max(amount) from {USERS}", 8) as seen:
        for number in range(1, 11):
            execute(
                engine,
                f"alter table gtm_core.dim_user add column more_{number} varchar",
                f"alter table gtm_core.dim_user drop column if exists more_{max(number - 2, 0)}",
                f"update gtm_core.dim_user set more_{number} = 'here', amount = {number}",
            )
            publish(engine, number)
            time.sleep(0.05)
    assert [rows for rows, _ in seen if rows[0][0] != 2 or rows[0][1] != rows[0][2]] == []
    assert {float(rows[0][1]) for rows, _ in seen} > {0, 10}
    assert columns(engine) == ["user_key", "amount", "more_9", "more_10"]
    assert execute(engine, f"select distinct more_9, more_10 from {USERS}") == [("here", "here")]


def test_columns_and_keys_of_other_types_take_their_places(engine):
    execute(
        engine,
        "drop view gtm_mart.rep_users",
        "alter table gtm_core.dim_user alter amount type bigint, alter user_key type bigint using ascii(user_key)",
        "create view gtm_mart.rep_users as select sum(amount) as amount from gtm_core.dim_user",
        "update gtm_core.dim_user set amount = user_key",
    )
    publish(engine, 1)
    assert sorted(execute(engine, f"select user_key, amount from {USERS}")) == [(97, 97), (98, 98)]
    types = (
        f"select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = '{USERS}'::regclass"
    )
    assert dict(execute(engine, f"{types} and attnum > 0 and not attisdropped")) == {
        "user_key": "bigint",
        "amount": "bigint",
    }
    assert keys(engine) == [("dim_user_pkey", "PRIMARY KEY (user_key)")]
    assert columns(engine) == ["user_key", "amount"]


def keys(engine: Any) -> list[tuple[str, str]]:
    query = "select conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = %s::regnamespace"
    return execute(engine, query % "'gtm_published_core'")


def test_rights_stay_with_tables_whose_columns_change(engine):
    name = "reader_of_" + engine.address.rpartition("_")[2]
    execute(
        engine,
        f'create role "{name}"',
        f'grant select on {USERS} to "{name}"',
        "alter table gtm_core.dim_user add column email varchar",
    )
    publish(engine, 1)
    assert execute(engine, f"select has_column_privilege('{name}', '{USERS}', 'email', 'select')") == [(True,)]
    execute(engine, f'drop owned by "{name}"', f'drop role "{name}"')


def test_only_rows_that_differ_are_written(engine):
    def written() -> dict[str, str]:
        """Which transaction wrote each row."""
        return dict(execute(engine, f"select user_key, cast(xmin as text) from {USERS}"))

    first = written()
    publish(engine, 1)
    assert written() == first
    execute(
        engine,
        "update gtm_core.dim_user set amount = null where user_key = 'b'",
        "insert into gtm_core.dim_user values ('c', 1)",
    )
    publish(engine, 2)
    second = written()
    assert second["a"] == first["a"] and second["b"] != first["b"] and second.keys() == {"a", "b", "c"}


def test_what_somebody_else_wrote_into_what_people_read_is_put_right(engine):
    execute(
        engine,
        f"update {USERS} set amount = 7 where user_key = 'a'",
        f"delete from {USERS} where user_key = 'b'",
        f"insert into {USERS} values ('z', 1)",
        "create table gtm_published_mart.rep_theirs as select 1 as one",
        f"comment on column {USERS}.user_key is 'Theirs.'",
        "insert into gtm_published_mart.rep_users values (1)",
    )
    publish(engine, 0)
    assert sorted(execute(engine, f"table {USERS}")) == [("a", "0.00"), ("b", "0.00")]
    assert len(execute(engine, "table gtm_published_mart.rep_users")) == 1
    assert execute(engine, "select to_regclass('gtm_published_mart.rep_theirs')") == [(None,)]
    assert execute(engine, f"select col_description('{USERS}'::regclass, 1)") == [("Key.",)]


def test_tables_have_keys_and_descriptions(engine):
    assert execute(engine, f"select obj_description('{USERS}'::regclass)") == [("People's.",)]
    assert keys(engine) == [("dim_user_pkey", "PRIMARY KEY (user_key)")]
    # A release before may have made them without.
    execute(engine, f"alter table {USERS} drop constraint dim_user_pkey")
    publish(engine, 1)
    assert keys(engine) == [("dim_user_pkey", "PRIMARY KEY (user_key)")]


def test_a_value_that_can_not_be_computed_leaves_what_people_read(engine):
    execute(
        engine,
        "create or replace view gtm_mart.rep_users as select sum(1 / amount) as amount from gtm_core.dim_user",
    )
    assert "division by zero" in (said := refused(engine)) and "Readers see what they saw before" in said


def test_a_key_that_stands_twice_leaves_what_people_read(engine):
    execute(engine, "insert into gtm_core.dim_user values ('new', 0), ('new', 1)")
    assert "dim_user_pkey" in refused(engine)


def test_a_view_of_somebody_elses_stays_over_what_changes_and_keeps_what_it_reads(engine):
    execute(
        engine,
        "create schema finance",
        f"create view finance.people as select user_key, amount from {USERS}",
        "alter table gtm_core.dim_user add column email varchar",
        "insert into gtm_core.dim_user values ('c', 0)",
    )
    publish(engine, 1)
    assert execute(engine, "select count(*) from finance.people") == [(3,)]

    execute(
        engine,
        "alter table gtm_core.dim_user add column more varchar, drop column amount cascade",
        "create view gtm_mart.rep_users as select 0 as amount",
    )
    assert "view finance.people depends on column amount" in refused(engine)
    # What had been added goes again.
    assert "more" not in columns(engine)


def columns(engine: Any) -> list[str]:
    return [
        name
        for (name,) in execute(
            engine,
            f"select attname from pg_attribute where attrelid = '{USERS}'::regclass and attnum > 0"
            " and not attisdropped order by attnum",
        )
    ]


def test_who_reads_a_table_all_the_time_keeps_it_and_holds_up_nobody_else(engine, monkeypatch):
    from gtm_assets.engines import postgres_publishing

    monkeypatch.setattr(postgres_publishing, "ATTEMPTS", 2)
    execute(engine, "alter table gtm_core.dim_user add column email varchar")
    with transaction(engine, f"table {USERS}") as cursor:
        cursor.execute("select pg_backend_pid()")
        [(process,)] = cursor.fetchall()
        with readers(engine, f"select count(*) from {USERS}", 4) as seen:
            assert f"gtm (process {process}) reads {USERS}" in refused(engine)
    assert max(seconds for _, seconds in seen) < postgres_publishing.LOCK_SECONDS + 0.5
    publish(engine, 1)
    assert execute(engine, f"select count(email) from {USERS}") == [(0,)]


rows = st.dictionaries(
    st.sampled_from("abcdef"), st.none() | st.decimals(-100, 100, places=2, allow_nan=False), max_size=6
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_whatever_changes_what_people_read_is_what_is_built(engine, built):
    listed = ", ".join(f"('{key}', {'null' if value is None else value})" for key, value in built.items())
    execute(engine, "truncate gtm_core.dim_user")
    if built:
        execute(engine, f"insert into gtm_core.dim_user values {listed}")
    publish(engine, 1)
    for table in ("core.dim_user", "mart.rep_users"):
        of_both = [execute(engine, f"table gtm_{state}{table}") for state in ("", "published_")]
        assert sorted(map(str, of_both[0])) == sorted(map(str, of_both[1]))
