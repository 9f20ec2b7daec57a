"""PostgreSQL as the engine: the lake reaches it whole, and each table that is built there equals DuckDB's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from dbt.cli.main import dbtRunnerResult

from gtm_assets.catalog.raw_table import ColumnType, RawTable
from gtm_assets.engines.address import AddressError, dbt_environment
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets.sources.registry import raw_tables
from gtm_assets_tests.change_logs import ALL_TABLES, ChangeLog, id_of
from gtm_assets_tests.dbt_harness import (
    PIPEDRIVE,
    TABLES,
    BuildError,
    Home,
    at,
    describe,
    empty_tables,
    incremental_models,
    opportunity,
    partition,
    with_ancestors,
)
from gtm_assets_tests.lake_builders import CALENDAR, DAY, DEALS, FIRST, NEXT, deal, merged, page, with_type
from gtm_assets_tests.postgres_server import needs_postgres, running
from gtm_assets_tests.postgres_tables import connected, differing, duckdb_rows, fetched, query

USERS = TABLES["user"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running() as address:
        yield address


@pytest.fixture
def address(server) -> Iterator[str]:
    """The server's database, empty."""
    with connected(server) as cursor:
        schemas = query(cursor, "select nspname from pg_namespace where nspname like 'gtm@_%' escape '@'")
        for (schema,) in schemas:
            cursor.execute(f"drop schema {schema} cascade")
        cursor.connection.commit()
    yield server


def copied(address: str, lake: Lake, tables: Sequence[RawTable]) -> dict[str, tuple[int, int, int]]:
    """Copy the lake; batches that came, rows and batches that went, by table."""
    from gtm_assets.engines.postgres_raw import copy_lake

    with connected(address) as cursor:
        done = copy_lake(cursor.connection, lake, tables)
    return {one.table: (one.batches, one.rows, one.removed) for one in done}


# -- the address -----------------------------------------------------------------------------------------------


def test_an_address_reaches_dbt_in_its_parts():
    told = dbt_environment("postgresql://ana%40acme:p%40ss@db.internal/sales")

    assert told["GTM_POSTGRES_HOST"] == "db.internal"
    assert told["GTM_POSTGRES_PORT"] == "5432"
    assert told["GTM_POSTGRES_USER"] == "ana@acme"
    assert told["DBT_ENV_SECRET_POSTGRES_PASSWORD"] == "p@ss"
    assert told["GTM_POSTGRES_DATABASE"] == "sales"


@pytest.mark.parametrize("given", ["", "mysql://u:secret@h/d", "postgresql://u:secret@h", "postgresql://h/d"])
def test_what_is_no_address_is_refused_without_its_password(given):
    with pytest.raises(AddressError, match="postgresql://user:password@host:5432/database") as refused:
        dbt_environment(given)
    assert "secret" not in str(refused.value)


# -- the lake --------------------------------------------------------------------------------------------------


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake(tmp_path / "lake")
    land(lake, DEALS, FIRST, deal(1, FIRST), deal(2, FIRST, amount=None, name="Ünïcode 'n\" \\ tab\t"))
    return lake


def land(lake: Lake, table: RawTable, partition: str, *records: dict, until: datetime | None = None) -> None:
    window = CALENDAR.window(partition, until)
    lake.land(table, window, [page(*records)], window.end)


def held(address: str, lake: Lake, table: RawTable = DEALS) -> None:
    """The table of the database holds what the lake does, and lists its batches."""
    with connected(address) as cursor:
        there = duckdb_rows(fetched(cursor, "gtm_raw.salesforce__deal"), lake.read(table).collect().to_arrow())
        listed = query(
            cursor, "select partition_key, batch_id, read_until from gtm_meta.lake_batches order by 1, 2"
        )
    assert there == ([], [])
    early = lake.landed_early(table)
    batches = lake.batches(table)
    assert [row[:2] for row in listed] == [(b.partition, b.batch_id) for b in batches]
    ends = [early.get(b.partition, CALENDAR.window(b.partition).end) for b in batches]
    assert [row[2] for row in listed] == ends


@needs_postgres
@pytest.mark.slow
def test_the_database_holds_what_the_lake_does_whatever_comes_and_goes(address, lake):
    assert copied(address, lake, [DEALS]) == {"salesforce.deal": (1, 2, 0)}
    held(address, lake)
    assert copied(address, lake, [DEALS]) == {}

    # Batches come, one of them of a partition that is still open.
    land(lake, DEALS, DAY, deal(1, is_won="false"), deal(3, probability="1e-3"))
    land(lake, DEALS, NEXT, until=CALENDAR.window(NEXT).end.replace(minute=0))
    assert copied(address, lake, [DEALS]) == {"salesforce.deal": (2, 2, 0)}
    held(address, lake)

    # A batch is gone from the lake.
    [batch] = lake.batches_of(DEALS, DAY)
    batch.path.unlink()
    assert copied(address, lake, [DEALS]) == {"salesforce.deal": (0, 0, 1)}
    held(address, lake)

    # A source is off.
    assert copied(address, lake, []) == {}
    with connected(address) as cursor:
        assert query(cursor, "select * from gtm_meta.lake_batches") == []


@needs_postgres
@pytest.mark.slow
def test_merged_files_are_listed_and_a_batch_that_came_since_is_not(address, lake):
    from gtm_assets.engines.postgres_raw import follow_compaction

    land(lake, DEALS, DAY, deal(3))
    copied(address, lake, [DEALS])
    merged(lake, DEALS)
    with connected(address) as cursor:
        follow_compaction(cursor.connection, lake, [DEALS])
        listed = query(cursor, "select partition_key, file_path from gtm_meta.lake_batches order by 1")
        assert query(cursor, "select to_regclass('gtm_paths')") == [(None,)]

    lake.remove_replaced(DEALS)
    assert [partition for partition, _ in listed] == [FIRST, DAY]
    assert all(Path(path).exists() for _, path in listed)


@needs_postgres
@pytest.mark.slow
def test_columns_that_come_and_types_that_change_reach_the_database(address, lake):
    copied(address, lake, [DEALS])
    land(lake, DEALS, DAY, deal(3, region_c="North"))
    assert copied(address, lake, [DEALS]) == {"salesforce.deal": (1, 1, 0)}
    held(address, lake)

    # The catalogue was mended: what lies in the lake as a text is a number, and the other way round.
    mended = with_type(DEALS, "lines", ColumnType.STRING)
    assert copied(address, lake, [mended]) == {"salesforce.deal": (2, 3, 0)}
    with connected(address) as cursor:
        assert query(cursor, "select lines, region_c from gtm_raw.salesforce__deal where id like '%3'") == [
            ("3", "North")
        ]


@needs_postgres
@pytest.mark.slow
def test_what_the_database_refuses_changes_nothing_and_names_table_and_partition(address, lake):
    from gtm_assets.engines.postgres_raw import PostgresError

    copied(address, lake, [DEALS])
    with connected(address) as cursor:
        cursor.execute("alter table gtm_raw.salesforce__deal add constraint somebodys check (lines < 9)")
        cursor.connection.commit()
    land(lake, DEALS, DAY, deal(3))
    land(lake, DEALS, NEXT, deal(4, NEXT, lines="9"))
    with pytest.raises(PostgresError, match=r"^salesforce\.deal 2026-01-05 to 2026-01-06: PostgreSQL refused"):
        copied(address, lake, [DEALS])
    with connected(address) as cursor:
        assert query(cursor, "select count(*) from gtm_raw.salesforce__deal") == [(2,)]
        assert query(cursor, "select partition_key from gtm_meta.lake_batches") == [(FIRST,)]


# -- the models ------------------------------------------------------------------------------------------------


class PostgresHome(Home):
    """A home whose warehouse lies in PostgreSQL, which has what the lake holds before each of dbt's commands."""

    def __init__(self, path: Path, address: str, lake: Path) -> None:
        super().__init__(path, engine=dbt_environment(address))
        self.address = address
        self.lake = Lake(lake)

    def dbt(self, *arguments: str, **given: Any) -> dbtRunnerResult:
        copied(self.address, self.lake, raw_tables(load_settings()))
        return super().dbt(*arguments, **given)


PASSED_THROUGH = {"opportunity": ["region_c", {"name": "score_c", "data_type": "double"}]}


@needs_postgres
@pytest.mark.nightly
def test_a_column_that_is_passed_through_reaches_core_and_a_wrong_type_is_told(address, tmp_path):
    home = PostgresHome(tmp_path / "gtm", address, tmp_path / "lake")
    empty_tables(home, *TABLES, *PIPEDRIVE)
    assert home.seed()
    models = with_ancestors("fct_opportunity")
    home.build(*models, variables={"pass_through_columns": PASSED_THROUGH})

    home.land("opportunity", partition(2), opportunity(1, at(2), region_c="North", score_c="1.5"))
    home.build(*models, variables={"pass_through_columns": PASSED_THROUGH})
    with connected(address) as cursor:
        assert query(cursor, "select region_c, score_c from gtm_core.fct_opportunity") == [("North", 1.5)]

    home.land("opportunity", partition(3), opportunity(2, at(3), region_c="South", score_c="high"))
    with pytest.raises(BuildError) as refused:
        home.build(*models, variables={"pass_through_columns": PASSED_THROUGH})
    assert (
        "gives opportunity.score_c the data_type double, which 1 of its values are not, such as high of "
        f"{id_of('opportunity', 2)}: write data_type: varchar, or another that they are"
    ) in str(refused.value)


@needs_postgres
@pytest.mark.nightly
def test_all_unit_tests_pass(address, built_home, tmp_path):
    home = PostgresHome(tmp_path / "gtm", address, built_home.path / "lake")
    result = home.dbt("build")

    assert result.success, describe(result)
    assert sum(r.node.resource_type == "unit_test" for r in result.result) > 45


@needs_postgres
@pytest.mark.nightly
def test_random_histories_give_duckdbs_tables_after_each_build_a_full_refresh_and_as_of_a_day(address, tmp_path):
    home = Home(tmp_path / "gtm").seed()
    log = ChangeLog(home, "postgres")
    other = PostgresHome(tmp_path / "postgres", address, home.lake.root)
    other.seed()
    models = with_ancestors(*incremental_models(), "rep_pipeline_health", "rep_sales_funnel_monthly")
    for table in ALL_TABLES:
        log.land(table, 1, log.draw(table, 1, 8))
    for day in (4, 2, 5, 6):
        # The second of them is late: it lies behind one that has been built.
        for table in ALL_TABLES:
            log.land(table, day, log.draw(table, day, 4), at(day + 1))
        for each in (home, other):
            each.build(*models)
        assert differing(address, home.path / "warehouse.duckdb", more_than=70) == {}, day

    for given in ({"full_refresh": True}, {"variables": {"as_of": "2026-01-04"}}):
        for each in (home, other):
            each.build(*models, **given)
        assert differing(address, home.path / "warehouse.duckdb", more_than=70) == {}, given
