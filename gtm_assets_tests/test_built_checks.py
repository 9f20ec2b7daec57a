"""The checks before publishing: each passes on what was built and fails, with figures and rows, on a fault."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal

import dagster as dg
import duckdb
import pytest

from gtm_assets.catalog.raw_table import ColumnType, RawTable
from gtm_assets.checks import reconciliation, scd
from gtm_assets.checks.definitions import checks_by_key
from gtm_assets.engines.files import connect
from gtm_assets.errors import LakeError
from gtm_assets.settings import load_settings
from gtm_assets.sources.registry import proofs
from gtm_assets_tests.dbt_harness import (
    CREATED,
    PIPEDRIVE,
    TABLES,
    Home,
    at,
    copied_warehouse,
    empty_tables,
    opportunity,
    partition,
    with_ancestors,
)
from gtm_assets_tests.reconciliations import REPORT_RECONCILIATIONS, SOURCE_RECONCILIATIONS

TIMEZONE = "America/Los_Angeles"
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN

# -- histories --------------------------------------------------------------------------------------------------

JANUARY, FEBRUARY, MARCH = (f"timestamptz '2026-0{month}-01'" for month in (1, 2, 3))
WHOLE = f"""
select * from (values
    ('k1', 'a', {JANUARY}, {FEBRUARY}, false, false),
    ('k2', 'a', {FEBRUARY}, null, true, false),
    ('k3', 'b', {JANUARY}, null, true, true),
    ('unknown', 'unknown', {JANUARY}, null, true, false)
) as versions (_scd_id, account_id, valid_from, valid_to, is_current, is_deleted)
"""


@pytest.fixture
def history():
    with duckdb.connect() as connection:
        connection.execute(f"create table history as {WHOLE}")
        yield connection


def test_a_whole_history_passes_and_says_how_it_grew(history):
    first = scd.scd_integrity(history, "history", "account_id")
    history.execute(f"update history set valid_to = {MARCH}, is_current = false where _scd_id = 'k2'")
    history.execute(f"insert into history values ('k4', 'a', {MARCH}, null, true, true)")
    history.execute(f"insert into history values ('k5', 'c', {MARCH}, null, true, false)")
    second = scd.scd_integrity(history, "history", "account_id", first.figures)

    assert first.passed and second.passed, second.sentence
    assert (first.figures["records"], first.figures["versions"], first.figures["deleted_records"]) == (2, 3, 1)
    grown = {name: second.figures[name] for name in ("new_records", "changed_versions", "newly_deleted")}
    assert grown == {"new_records": 1, "changed_versions": 1, "newly_deleted": 1}


@pytest.mark.parametrize(
    ("fault", "plant"),
    [
        ("gap", f"update history set valid_from = {MARCH} where _scd_id = 'k2'"),
        ("overlap", f"update history set valid_to = {MARCH} where _scd_id = 'k1'"),
        ("overlap", "update history set valid_to = null where _scd_id = 'k1'"),
        ("not_one_current", "update history set is_current = true where _scd_id = 'k1'"),
        ("not_one_current", "update history set is_current = false where _scd_id = 'k3'"),
        ("key_twice", "update history set _scd_id = 'k1' where _scd_id = 'k3'"),
        ("without_key", "update history set _scd_id = null where _scd_id = 'k3'"),
        ("out_of_order", f"update history set valid_from = {MARCH} where _scd_id = 'k1'"),
        ("ended_without_successor", f"update history set valid_to = {MARCH} where _scd_id = 'k3'"),
        ("current_is_not_last", "update history set is_current = not is_current where account_id = 'a'"),
    ],
)
def test_each_fault_of_a_history_is_found_and_its_rows_are_shown(history, fault, plant):
    history.execute(plant)

    found = scd.scd_integrity(history, "history", "account_id")

    assert not found.passed
    assert found.severity == ERROR
    assert found.figures[fault] > 0
    assert fault.replace("_", " ") in found.sentence
    assert found.sample and history.execute(found.sql).fetchall()


# -- reconciliation ---------------------------------------------------------------------------------------------

DEALS = next(rule for rule in SOURCE_RECONCILIATIONS if rule.core == "fct_opportunity")
DEAL = TABLES["opportunity"]
OWNERS = next(rule for rule in REPORT_RECONCILIATIONS if rule.report == "rep_owner_performance")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Home:
    """Deals of three days, one of them deleted, one late, one changed; core and the owners' report built."""
    home = Home(tmp_path_factory.mktemp("reconciled") / "gtm")
    empty_tables(home, *TABLES)
    won = {"is_closed": True, "is_won": True, "stage_name": "Closed Won", "forecast_category": "Closed"}
    home.land("opportunity", partition(2), opportunity(1, at(2), amount=Decimal("10.10"), created_date=at(2)))
    home.land("opportunity", partition(2), opportunity(2, at(2), amount=Decimal("20.20"), created_date=at(2)))
    home.land("opportunity", partition(3), opportunity(3, at(3), amount=None, created_date=at(3)))
    home.land(
        "opportunity", partition(4), opportunity(1, at(4), amount=Decimal("11.11"), created_date=at(2), **won)
    )
    home.land("opportunity", partition(4), opportunity(2, at(4), is_deleted=True, created_date=at(2)))
    home.land("opportunity", partition(3), opportunity(4, at(3), amount=Decimal("5"), created_date=at(3)))
    home.dbt("seed")
    home.build("+rep_owner_performance")
    return home


@pytest.fixture
def warehouse(built, tmp_path):
    """A copy of the warehouse that a test may spoil."""
    with connect(copied_warehouse(built.path, tmp_path), read_only=False) as connection:
        yield connection


def with_source(warehouse, allowance: float = 0.0):
    return reconciliation.reconcile_with_source(
        warehouse, DEALS, DEAL, reconciliation.newest_in_lake, TIMEZONE, allowance
    )


def test_core_ties_to_the_records_in_the_lake(warehouse):
    found = with_source(warehouse)

    assert found.passed, found.sentence
    assert found.figures["records"] == 3
    assert found.figures["amount"] == 16.11
    assert found.figures["groups_compared"] == 2


@pytest.mark.parametrize(
    "plant",
    [
        "update gtm_core.fct_opportunity set amount = amount + 0.01 where amount = 5",
        "delete from gtm_core.fct_opportunity where amount is null",
        "insert into gtm_core.fct_opportunity select * from gtm_core.fct_opportunity where amount is null",
        "update gtm_core.fct_opportunity set created_date = created_date + 1 where amount = 5",
        "update gtm_core.fct_opportunity set arr_c = 1 where amount = 5",
    ],
    ids=["a cent", "a lost row", "a doubled row", "another day", "a measure"],
)
def test_what_core_has_otherwise_than_the_lake_is_found(warehouse, plant):
    warehouse.execute(plant)

    found = with_source(warehouse)

    assert not found.passed
    assert found.severity == ERROR
    assert "gtm_core.fct_opportunity and the raw records of salesforce.opportunity differ" in found.sentence
    assert found.figures["groups_that_differ"] >= 1
    assert date(2026, 1, 4) in {row["day"] for row in found.sample}
    assert warehouse.execute(found.sql).fetchall()


def test_a_difference_within_the_allowance_warns(warehouse):
    warehouse.execute("update gtm_core.fct_opportunity set amount = amount + 0.01 where amount = 5")

    assert with_source(warehouse, allowance=0.0019).severity == ERROR
    allowed = with_source(warehouse, allowance=0.0021)

    assert (allowed.passed, allowed.severity) == (False, WARN)
    assert "0.20%, which the allowance of 0.21% lets pass" in allowed.sentence


def test_a_batch_that_landed_after_the_build_does_not_count(built, warehouse):
    found = with_source(warehouse)
    built.land("opportunity", partition(5), opportunity(9, at(5), amount=1))

    assert with_source(warehouse) == found


def test_a_batch_of_a_merged_file_that_landed_after_the_build_does_not_count(built, warehouse, tmp_path):
    found = with_source(warehouse)
    late = [opportunity(4, at(6), amount=2), opportunity(9, at(6), amount=1)]
    built.land("opportunity", partition(6), *late)
    merged = str(tmp_path / "merged.parquet")
    files = f"'{built.path}/lake/salesforce/opportunity/*/*.parquet'"
    warehouse.execute(f"copy (from read_parquet({files}, hive_partitioning = false)) to '{merged}'")
    warehouse.execute("update gtm_meta.lake_batches set file_path = ? where table_name = 'opportunity'", [merged])

    assert with_source(warehouse).figures == found.figures
    assert found.figures["records"] == 3


def test_a_report_ties_to_core(warehouse):
    assert reconciliation.reconcile_with_core(warehouse, OWNERS, 0.0).passed

    warehouse.execute("update gtm_mart.rep_owner_performance set won_amount = won_amount + 0.01")
    found = reconciliation.reconcile_with_core(warehouse, OWNERS, 0.0)

    assert not found.passed
    assert found.sample[0]["found_won_amount"] - found.sample[0]["expected_won_amount"] == Decimal("0.01")


def test_an_owner_who_is_missing_from_the_report_is_found(warehouse):
    warehouse.execute("delete from gtm_mart.rep_owner_performance")

    assert not reconciliation.reconcile_with_core(warehouse, OWNERS, 0.0).passed


VALUES = {
    ColumnType.STRING: lambda chance: chance.choice(["a", "b", "1", "8"]),
    ColumnType.BOOLEAN: lambda chance: chance.random() < 0.5,
    ColumnType.INTEGER: lambda chance: chance.randrange(1, 100),
    ColumnType.DOUBLE: lambda chance: chance.randrange(1, 400) / 4,
    ColumnType.CURRENCY: lambda chance: Decimal(chance.randrange(1, 10_000)) / 100,
    ColumnType.DATE: lambda chance: CREATED.date() + timedelta(days=chance.randrange(90)),
    ColumnType.TIMESTAMP: lambda chance: CREATED + timedelta(minutes=chance.randrange(90 * 24 * 60)),
}


def with_gaps(table: RawTable, chance: random.Random, count: int = 40) -> list[dict]:
    """Records of a table in which any column may be empty, but the id and the cursor."""
    return [
        {name: VALUES[type_](chance) if chance.random() < 0.6 else None for name, type_ in table.types.items()}
        | {table.id_column: f"{table.name} {number}", table.cursor: at(2), table.deletes.value: number % 9 == 0}
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def gappy(tmp_path_factory) -> Home:
    """All of core that ties to a source, from records of every table in which any column may be empty."""
    home = Home(tmp_path_factory.mktemp("gappy") / "gtm").seed()
    chance = random.Random(0)
    for table in (*TABLES.values(), *PIPEDRIVE.values()):
        home.land(table, partition(2), *with_gaps(table, chance))
    home.build(*with_ancestors(*{rule.core for rule in SOURCE_RECONCILIATIONS}))
    return home


@pytest.mark.slow
def test_each_total_ties_to_records_with_gaps_and_a_wrong_one_is_found(gappy):
    """A measure that core fills in where the source has none is filled in by the same rule."""
    raw = {table.qualified_name: table for table in (*TABLES.values(), *PIPEDRIVE.values())}
    with connect(gappy.path / "warehouse.duckdb", read_only=False) as connection:

        def found(rule):
            table = raw[f"{rule.source}.{rule.raw}"]
            return reconciliation.reconcile_with_source(
                connection, rule, table, reconciliation.newest_in_lake, TIMEZONE, 0.0
            )

        passed = [found(rule) for rule in SOURCE_RECONCILIATIONS]
        assert [finding.sentence for finding in passed if not finding.passed] == []
        assert min(finding.figures["records"] for finding in passed) > 0

        for rule in SOURCE_RECONCILIATIONS:
            for measure in (name for name in rule.measures if name != "is_completed"):
                connection.execute(
                    f"begin; update gtm_core.{rule.core} set {measure} = {measure} + 1 where {rule.rows}"
                )
                assert found(rule).figures[f"{measure}_expected"] < found(rule).figures[measure]
                connection.execute("rollback")
        # Those that core filled in too.
        filled = """
            select id from gtm_staging.base_salesforce__event
            where duration_in_minutes is null and start_date_time is not null and end_date_time is not null
        """
        connection.execute(f"update gtm_core.fct_event set duration_minutes = null where event_id in ({filled})")
        assert found(next(rule for rule in SOURCE_RECONCILIATIONS if rule.core == "fct_event")).passed is False


def test_a_damaged_file_of_the_lake_is_named_by_the_check_that_reads_it(tmp_path):
    home = Home(tmp_path / "home")
    home.land("opportunity", partition(1), opportunity(1, at(1)))
    home.build("base_salesforce__opportunity")
    (batch,) = home.lake.batches(DEAL)
    batch.path.write_bytes(b"")
    settings = load_settings({"GTM_HOME": str(home.path)})
    checks = {key.to_user_string(): check for key, check in checks_by_key(settings, proofs(settings)).items()}

    with (
        connect(home.path / "warehouse.duckdb") as connection,
        pytest.raises(LakeError, match=rf"2026-01-01: the lake's file {batch.path} can't be"),
    ):
        checks["gtm_core/fct_opportunity:reconciles_with_source"](connection, None)


@pytest.mark.slow
def test_everything_that_a_run_builds_is_proven(built_home):
    with connect(built_home.warehouse) as connection:
        settings = load_settings({})
        checks = checks_by_key(settings, proofs(settings))
        findings = {key: check(connection, None) for key, check in checks.items()}

    assert [(key, found.sentence) for key, found in findings.items() if not found.passed] == []
    compared = [found.figures.get("groups_compared", 1) for found in findings.values()]
    assert len(compared) >= 28 and sum(count > 0 for count in compared) >= 26
