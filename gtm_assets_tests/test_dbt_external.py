"""External mode in dbt: another loader's tables give what the lake gives, whatever they lack and are called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from gtm_assets.catalog.raw_table import fivetran_name
from gtm_assets.checks.active_rows import reconcile_with_active_rows
from gtm_assets.cli import doctor
from gtm_assets.dbt.external import examine_external
from gtm_assets.dbt.project import TransformError
from gtm_assets.engines.files import connect, staging_path
from gtm_assets.settings import load_settings
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets_tests.dbt_harness import (
    TABLES,
    BuildError,
    Home,
    account,
    at,
    describe,
    empty_tables,
    opportunity,
    partition,
    task,
    user,
)
from gtm_assets_tests.externals import api_style, load_current, load_history
from gtm_assets_tests.gtm_process import GtmHome, tables
from gtm_assets_tests.reconciliations import RECORD_RECONCILIATIONS

HISTORIES = {
    "gtm_core.dim_account_scd2",
    "gtm_core.dim_contact_scd2",
    "gtm_core.dim_user_scd2",
    "gtm_core.fct_opportunity_history",
    "gtm_core.fct_pipeline_snapshot",
    "gtm_core.fct_opportunity_stage_history",
    "gtm_core.fct_pipeline_change",
    "gtm_core.fct_pipeline_movement",
    "gtm_mart.rep_pipeline_waterfall",
    "gtm_mart.rep_slipped_deals",
    "gtm_mart.rep_pipeline_health",
    "gtm_mart.rep_forecast_accuracy",
}
"""Tables made of versions: without history mode they know the last one only."""

SUMMARY = "gtm_mart.rep_executive_summary"
"""Its pipeline of earlier months is made of the days of deals; its other columns are not."""

OF_DAYS = {
    "gtm_core.fct_opportunity_history",
    "gtm_core.fct_pipeline_snapshot",
    "gtm_mart.rep_pipeline_health",
    "gtm_mart.rep_executive_summary",
}
"""Tables made of the days of deals: in history mode these begin where the versions begin."""


def build_all(home: Home) -> None:
    """Seeds and models, without tests."""
    result = home.dbt("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
    assert result.success, describe(result)


def built(home: Home) -> dict[str, list[tuple]]:
    """All of core and mart."""
    return tables(home.path / "warehouse.duckdb", lambda schema: schema in ("gtm_core", "gtm_mart"))


def loaded(path: Path, *statements: str) -> Path:
    """A DuckDB file made by statements; schema gtm_raw is there."""
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("create schema gtm_raw")
        for statement in statements:
            connection.execute(statement)
    return path


ACCOUNT = (
    "create table gtm_raw.account as select '001a' as id, 'Acme' as name, 'Energy' as industry,"
    " timestamp '2026-01-02 03:00:00' as system_modstamp, timestamp '2025-01-01 00:00:00' as created_date,"
    " false as is_deleted, timestamp '2026-01-05 12:00:00' as _fivetran_synced"
)


def lake_of(home: GtmHome) -> Path:
    return home.path / "lake"


def beside_pipedrive(built_home: GtmHome, path: Path, external: Path) -> Home:
    """A home that reads Salesforce's tables as external, and Pipedrive's from a copy of the built home's lake."""
    home = Home(path, external=external)
    shutil.copytree(lake_of(built_home) / "pipedrive", home.lake.root / "pipedrive")
    return home


@pytest.fixture(scope="session")
def of_lake(built_home) -> dict[str, list[tuple]]:
    return tables(built_home.warehouse, lambda schema: schema in ("gtm_core", "gtm_mart"))


@pytest.fixture(scope="session")
def of_current(built_home, tmp_path_factory) -> Home:
    """Built from an external database with one row per record of the lake."""
    folder = tmp_path_factory.mktemp("current")
    external = load_current(folder / "external.duckdb", lake_of(built_home))
    home = beside_pipedrive(built_home, folder / "gtm", external)
    build_all(home)
    return home


@pytest.mark.slow
def test_external_tables_give_what_the_lake_gives_but_for_histories(built_home, of_lake, of_current):
    found = built(of_current)

    assert found.keys() == of_lake.keys()
    # An account's key is that of its version: the external database has one, from the account's creation on.
    of_lake_version, of_external_version = (
        {
            row["account_key"]: row["account_id"]
            for row in _rows(path, "select account_key, account_id from gtm_core.dim_account_scd2")
        }
        for path in (built_home.warehouse, of_current.path / "warehouse.duckdb")
    )
    for name in sorted(of_lake.keys() - HISTORIES - {SUMMARY}):
        lake = sorted(_with_account_ids(of_lake[name], of_lake_version), key=repr)
        external = sorted(_with_account_ids(found[name], of_external_version), key=repr)
        assert external == lake, name
    of_months = [
        [
            {column: value for column, value in row.items() if "pipeline" not in column}
            for row in _rows(path, f"select * from {SUMMARY} order by month_start_date")
        ]
        for path in (built_home.warehouse, of_current.path / "warehouse.duckdb")
    ]
    assert of_months[0] == of_months[1] != []
    assert sum(len(rows) for rows in of_lake.values()) > 10_000


def _tuples(path: Path, query: str) -> list[tuple]:
    with connect(path) as connection:
        return connection.execute(query).fetchall()


def _rows(path: Path, query: str) -> list[dict]:
    with connect(path) as connection:
        result = connection.execute(query)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _with_account_ids(rows: list[tuple], ids: dict[str, str]) -> list[tuple]:
    return [tuple(ids.get(value, value) if isinstance(value, str) else value for value in row) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("entity", ["account", "contact", "user"])
def test_without_history_mode_a_history_has_one_version_per_record(built_home, of_current, entity):
    now = f"select * from gtm_core.dim_{entity}_scd2 where is_current"
    lake, external = (
        {row[f"{entity}_id"]: row for row in _rows(path, now)}
        for path in (built_home.warehouse, of_current.path / "warehouse.duckdb")
    )

    assert of_current.rows(f"select count(*), count(distinct {entity}_id) from gtm_core.dim_{entity}_scd2") == [
        (len(lake), len(lake))
    ]
    # An external database without history shows one version, which is the record's first.
    as_of_version = {"_scd_id", "account_key", "valid_from", "update_date", "is_first"}
    for id_, row in external.items():
        assert {k: v for k, v in row.items() if k not in as_of_version} == {
            k: v for k, v in lake[id_].items() if k not in as_of_version
        }


@pytest.mark.slow
def test_without_history_mode_the_days_of_deals_are_today_alone(of_current):
    ((first, last, deals),) = of_current.rows(
        "select min(date_day), max(date_day), count(*) from gtm_core.fct_opportunity_history"
    )
    ((open_deals,),) = of_current.rows(
        "select count(*) from gtm_core.fct_opportunity where not is_closed and source_system = 'salesforce'"
    )

    assert first == last
    assert deals >= open_deals > 100


@pytest.mark.nightly
def test_history_mode_gives_every_table_of_the_lake_row_for_row(built_home, of_lake, tmp_path):
    path = load_history(tmp_path / "external.duckdb", lake_of(built_home))
    home = beside_pipedrive(built_home, tmp_path / "gtm", path)

    build_all(home)

    found = built(home)
    assert found.keys() == of_lake.keys()
    assert {name for name in of_lake if found[name] != of_lake[name]} == OF_DAYS
    # The lake's days begin with its first boundary, the loader's versions before it; on the lake's days all agree.
    for table, columns, condition in (
        ("gtm_core.fct_opportunity_history", "*", "date_day >= {first}"),
        ("gtm_core.fct_pipeline_snapshot", "*", "date_day >= {first}"),
        (
            "gtm_mart.rep_pipeline_health",
            "pipeline_health_key, open_count, open_amount, weighted_amount, overdue_count",
            "week_end_date >= {first} and open_count > 0",
        ),
        (
            "gtm_mart.rep_executive_summary",
            "columns(lambda c: not (contains(c, 'pipeline') and contains(c, 'before')))",
            "last_day >= {first}",
        ),
    ):
        ((first,),) = _tuples(built_home.warehouse, "select min(date_day) from gtm_core.fct_opportunity_history")
        where = condition.format(first=f"date '{first}'")
        query = f"select {columns} from {table} where {where} order by all"
        lake, external = (_tuples(path, query) for path in (built_home.warehouse, home.path / "warehouse.duckdb"))
        assert external == lake, table
        assert len(found[table]) > len(lake), table
    with connect(home.path / "warehouse.duckdb", read_only=False) as warehouse:
        for rule in RECORD_RECONCILIATIONS:
            proof = reconcile_with_active_rows(warehouse, rule, TABLES[rule.raw], path)
            assert proof.passed and proof.figures["records_compared"] > 0, proof.sentence


@pytest.mark.nightly
def test_api_style_names_give_identical_tables(built_home, of_current, tmp_path):
    path = load_current(tmp_path / "external.duckdb", lake_of(built_home), api_style)
    with duckdb.connect(str(path), read_only=True) as connection:
        names = connection.execute("select table_name from duckdb_tables()").fetchall()
        assert ("OpportunityFieldHistory",) in names
    home = beside_pipedrive(built_home, tmp_path / "gtm", path)

    build_all(home)

    assert built(home) == built(of_current)


def test_an_external_column_is_found_by_the_name_that_fivetran_would_give_it(tmp_path):
    api_names = [
        "LastCURequestDate",
        "UserPreferencesHideS1BrowserUI",
        "SBQQ__PriceEditable__c",
        "npe01__Last_Donation_Date__c",
        "ACVAmount__c",
        "3rd_Party__c",
    ]
    columns = ", ".join(f"'{name}' as \"{name}\"" for name in api_names)
    path = loaded(
        tmp_path / "external.duckdb",
        f"create table gtm_raw.account as select '1' as id, {columns}, now() as _fivetran_synced",
    )
    home = Home(tmp_path / "gtm", external=path)
    names = [fivetran_name(name) for name in api_names]

    home.build("base_salesforce__account", variables={"pass_through_columns": {"account": names}})

    assert home.rows(f"select {', '.join(names)} from gtm_staging.base_salesforce__account") == [tuple(api_names)]


def test_missing_tables_are_empty_missing_columns_null_and_unknown_columns_left_out(tmp_path):
    path = loaded(
        tmp_path / "external.duckdb",
        "create table gtm_raw.ACCOUNT as select '001a' as ID, 'Acme' as Name, 'x' as whatever_c, [1, 2] as a_list,"
        " timestamp '2026-01-05 12:00:00' as _fivetran_synced",
    )
    home = Home(tmp_path / "gtm", external=path)

    result = home.dbt("build", "--exclude-resource-type", "unit_test")

    assert result.success, describe(result)
    ((id_, name, industry, revenue),) = home.rows(
        "select account_id, account_name, industry, annual_revenue from gtm_core.dim_account"
        " where account_id <> 'unknown'"
    )
    assert (id_, name, industry, revenue) == ("001a", "Acme", None, None)
    assert home.rows("select count(*) from gtm_core.fct_opportunity") == [(0,)]
    columns = {row[0] for row in home.rows("describe gtm_staging.base_salesforce__account")}
    assert "whatever_c" not in columns
    listed = {
        row[0]: row[1:]
        for row in home.rows(
            "select table_name, external_name, row_count, missing_columns, unknown_columns"
            " from gtm_meta.external_tables"
        )
    }
    assert len(listed) == len(OBJECTS)
    assert listed["account"][:2] == ("ACCOUNT", 1)
    assert "industry" in listed["account"][2].split(", ") and "name" not in listed["account"][2].split(", ")
    assert listed["account"][3] == "a_list, whatever_c"
    assert listed["opportunity"] == (None, 0, None, None)
    # Known as of the last load; the cursor of a record that has none is when it was loaded.
    assert home.rows(
        "select system_modstamp = timestamptz '2026-01-05 12:00:00+00' from gtm_staging.stg_salesforce__account"
    ) == [(True,)]


def test_tables_that_lie_there_and_are_not_read_are_listed(tmp_path, monkeypatch):
    path = loaded(
        tmp_path / "external.duckdb",
        ACCOUNT,
        "create table gtm_raw.Pricebook2 as select 'x' as Id, now() as _fivetran_synced",
        "create table gtm_raw.pricebook_2 as select 'y' as id, now() as _fivetran_synced",
        'create table gtm_raw."order" as select 1 as id',
        'create view gtm_raw."it\'s mine" as select 1 as id',
    )
    home = Home(tmp_path / "gtm", external=path)
    home.build("base_salesforce__pricebook_2")
    unread = ["Pricebook2", "it's mine", "order"]

    assert home.rows("select id from gtm_staging.base_salesforce__pricebook_2") == [("y",)]
    assert home.rows("select table_name from gtm_meta.tables_not_read order by 1") == [(name,) for name in unread]

    home.external = None
    home.build("base_salesforce__pricebook_2")
    assert home.rows("select count(*) from gtm_meta.tables_not_read") == [(0,)]

    # dbt is told by the environment.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    given = {"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": str(path), "GTM_HOME": str(tmp_path)}
    told = [finding.sentence for finding in doctor._external(load_settings(given)) if finding.ok]
    assert f"In the external database and not read, as not in the catalogue: {', '.join(unread)}." in told


def test_deleted_records_are_marked_either_way_and_leave_the_dimensions(tmp_path):
    path = loaded(
        tmp_path / "external.duckdb",
        ACCOUNT.replace("false as is_deleted", "true as is_deleted"),
        "create table gtm_raw.user as select * from (values"
        " ('005a', 'Gone', true, timestamp '2026-01-05 12:00:00'),"
        " ('005b', 'Here', false, timestamp '2026-01-05 12:00:00'), ('005c', 'Neither', null, null))"
        " as users (id, name, _fivetran_deleted, _fivetran_synced)",
    )
    home = Home(tmp_path / "gtm", external=path)

    home.build("+dim_account", "+dim_user", "+dim_user_scd2")

    assert home.rows("select user_id from gtm_core.dim_user order by all") == [("005b",), ("005c",), ("unknown",)]
    assert home.rows("select account_id from gtm_core.dim_account") == [("unknown",)]
    assert home.rows("select user_id, is_deleted from gtm_core.dim_user_scd2 where user_id = '005a'") == [
        ("005a", True)
    ]


def test_in_history_mode_a_record_without_an_active_version_has_gone_when_its_last_one_ended(tmp_path):
    path = loaded(
        tmp_path / "external.duckdb",
        "create table gtm_raw.user as select *, timestamp '2026-01-20 00:00:00' as _fivetran_synced from (values"
        " ('005a', 'North', timestamp '2026-01-01 00:00:00', timestamp '2026-01-04 23:59:59.999', false),"
        " ('005a', 'South', timestamp '2026-01-05 00:00:00', timestamp '2026-01-09 00:00:00', false),"
        " ('005b', 'East', timestamp '2026-01-01 00:00:00', timestamp '2026-01-04 23:59:59.999', false),"
        " ('005b', 'West', timestamp '2026-01-05 00:00:00', timestamp '9999-12-31 00:00:00', true)"
        ") as users (id, division, _fivetran_start, _fivetran_end, _fivetran_active)",
    )
    home = Home(tmp_path / "gtm", external=path)

    home.build("+dim_user_scd2", "+stg_salesforce__user")

    assert home.rows(
        "select user_id, division, cast(valid_from as date)::varchar, is_deleted, is_current"
        " from gtm_core.dim_user_scd2 order by user_id, valid_from"
    ) == [
        ("005a", "North", "2026-01-01", False, False),
        ("005a", "South", "2026-01-05", False, False),
        ("005a", "South", "2026-01-09", True, True),
        ("005b", "East", "2026-01-01", False, False),
        ("005b", "West", "2026-01-05", False, True),
    ]
    assert home.rows("select user_id, division from gtm_staging.stg_salesforce__user") == [("005b", "West")]


def test_active_rows_alone_count_where_their_time_is_not_loaded(tmp_path):
    path = loaded(
        tmp_path / "external.duckdb",
        "create table gtm_raw.user as select *, timestamp '2026-01-20 00:00:00' as _fivetran_synced from (values"
        " ('005a', 'North', false), ('005a', 'South', true), ('005b', 'East', null)"
        ") as users (id, division, _fivetran_active)",
    )
    home = Home(tmp_path / "gtm", external=path)

    home.build("+dim_user_scd2")

    assert home.rows("select user_id, division from gtm_core.dim_user_scd2 order by all") == [
        ("005a", "South"),
        ("005b", "East"),
    ]


@pytest.mark.parametrize(
    ("table", "column", "value", "type_"),
    [
        ("opportunity", "probability", "'nan'::double", "double"),
        ("opportunity", "probability", "'-Infinity'", "double"),
        ("opportunity_line_item", "quantity", "'inf'::float", "double"),
        ("opportunity", "amount", "'inf'::double", "decimal(24,6)"),
        ("opportunity", "close_date", "'infinity'::date", "date"),
        ("task", "activity_date", "'-infinity'::timestamptz", "date"),
    ],
)
def test_an_infinite_value_or_one_that_is_no_number_stops_the_build_by_name(tmp_path, table, column, value, type_):
    path = loaded(
        tmp_path / "external.duckdb",
        f"create table gtm_raw.{table} as select '001a' as id, {value} as {column}, now() as _fivetran_synced"
        " union all select '001b', null, now()",
    )

    with pytest.raises(
        BuildError,
        match=rf"salesforce.{table}.{column}: 1 values are not a {re.escape(type_)}, such as -?(?i:inf|nan)",
    ):
        Home(tmp_path / "gtm", external=path).build(f"base_salesforce__{table}")


@pytest.mark.parametrize(
    ("column", "value", "type_"),
    [
        ("annual_revenue", "'a lot'", "decimal(24,6)"),
        ("annual_revenue", "'1234567890123456789.5'", "decimal(24,6)"),
        ("number_of_employees", "'1e400'", "bigint"),
        ("last_activity_date", "'soon'", "date"),
        ("created_date", "'2026-13-01'", "timestamp with time zone"),
        ("is_deleted", "'maybe'", "boolean"),
        ("_fivetran_start", "'then'", "timestamp with time zone"),
    ],
)
def test_a_value_that_can_not_be_read_stops_the_build_by_name(tmp_path, column, value, type_):
    path = loaded(
        tmp_path / "external.duckdb",
        f"create table gtm_raw.account as"
        f" select '001a' as id, null::varchar as {column}, now() as _fivetran_synced"
        f" union all select '001b', {value}, now() union all select '001c', ' ', now()",
    )
    home = Home(tmp_path / "gtm", external=path)

    with pytest.raises(BuildError) as error:
        home.build("base_salesforce__account")

    assert f"salesforce.account.{column}: 1 values are not a {type_}, such as {value[1:-1]} of 001b" in str(
        error.value
    )
    # dbt has not begun.
    assert not (home.path / "warehouse.duckdb").exists()


def test_the_doctor_names_a_value_that_can_not_be_read(tmp_path, monkeypatch):
    path = loaded(
        tmp_path / "external.duckdb",
        "create table gtm_raw.account as"
        " select '001a' as id, 'a lot' as annual_revenue, now() as _fivetran_synced",
    )
    # dbt is told by the environment.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    given = {"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": str(path), "GTM_HOME": str(tmp_path)}

    with pytest.raises(
        TransformError, match=r"(?s)^the external database holds values that can not be read.*a lot of 001a$"
    ):
        examine_external(load_settings(given))


def test_values_that_are_cut_to_their_type_are_counted_and_named(tmp_path):
    path = loaded(
        tmp_path / "external.duckdb",
        "create table gtm_raw.account as"
        " select *, timestamp '2026-01-20 00:00:00' as _fivetran_synced from (values"
        " ('001a', 10.5::double, 12.3456789::double, timestamp '2026-01-02 15:00:00'),"
        " ('001b', 11::double, 12.34::double, timestamp '2026-01-03 00:00:00')"
        ") as accounts (id, number_of_employees, annual_revenue, last_activity_date)",
    )
    home = Home(tmp_path / "gtm", external=path)

    home.build("base_salesforce__account")

    assert home.rows(
        "select column_name, record_count, example_id, example_value from gtm_meta.external_misfits order by all"
    ) == [
        ("annual_revenue", 1, "001a", "12.3456789"),
        ("last_activity_date", 1, "001a", "2026-01-02 15:00:00"),
        ("number_of_employees", 1, "001a", "10.5"),
    ]
    assert [str(v) for v in home.rows(
        "select last_activity_date, annual_revenue from gtm_staging.base_salesforce__account where id = '001a'"
    )[0]] == ["2026-01-02", "12.345679"]  # fmt: skip


def accounts(home: Home) -> set[str]:
    """Ids of the accounts that have a history."""
    rows = home.rows("select account_id from gtm_core.dim_account_scd2 where account_id <> 'unknown'")
    return {row[0] for row in rows}


def test_a_change_of_mode_and_back_leaves_nothing_of_the_other(tmp_path):
    home = Home(tmp_path / "gtm")
    empty_tables(home, "account", "user", "contact", "task")
    home.land("account", partition(2), account(1, at(2), industry="Lake"), account(2, at(2)))
    home.land("user", partition(2), user(1, at(2)))
    home.land("task", partition(2), task(1, at(2), account_id=account(1, at(2))["id"]))
    models = ["+fct_task", "+dim_account", "+dim_user_scd2"]
    home.build(*models)
    names = ("base_salesforce__account", "int_account_versions", "dim_account_scd2", "fct_task", "dim_user_scd2")
    of_lake = {name: home.table(name) for name in names}
    home.external = loaded(
        tmp_path / "external.duckdb",
        ACCOUNT,
        "create table gtm_raw.task as select '00Tz' as id, '001a' as account_id, now() as _fivetran_synced",
    )

    home.build(*models)

    assert accounts(home) == {"001a"}
    assert home.rows("select task_id from gtm_core.fct_task") == [("00Tz",)]
    assert home.rows("select user_id from gtm_core.dim_user_scd2 where user_id <> 'unknown'") == []

    other = loaded(tmp_path / "other.duckdb", ACCOUNT.replace("001a", "001b"))
    home.external = other
    home.build(*models)

    assert accounts(home) == {"001b"}
    assert home.rows("select count(*) from gtm_core.fct_task") == [(0,)]

    home.external = None
    # One alone, before its parent has been built from the lake: it stays the external database's, and says so.
    home.build("dim_account_scd2")
    assert accounts(home) == {"001b"}
    home.build(*models)

    assert {name: home.table(name) for name in names} == of_lake
    home.land("account", partition(3), account(1, at(3), industry="Later"))
    home.build(*models)
    assert len(home.consumed("int_account_versions")) == 3
    assert home.rows("select industry from gtm_core.dim_account where account_name = 'Account 1'") == [("Later",)]


@pytest.mark.parametrize("is_external_still", [True, False])
def test_a_warehouse_of_an_older_release_is_built_through(is_external_still, tmp_path):
    """It calls external tables landed, and their batch landing. What it built of them is built afresh.

    It has all in one file. What core is made of is built afresh in the second, and leaves the first.
    """
    home = Home(tmp_path / "gtm", external=loaded(tmp_path / "external.duckdb", ACCOUNT))
    empty_tables(home, "account", "user")
    home.land("account", partition(2), account(1, at(2)))
    home.build("+dim_account_scd2")
    with connect(home.path / "warehouse.duckdb", read_only=False) as warehouse:
        for name in ("tables", "misfits", "flaws", "now"):
            older = f"landing_{name}" if name == "now" else f"landed_{name}"
            warehouse.execute(f"alter table gtm_meta.external_{name} rename to {older}")
        warehouse.execute("alter table gtm_meta.landed_tables rename column external_name to landed_name")
        warehouse.execute("insert into gtm_meta.consumed_batches from staging.gtm_meta.consumed_batches")
        base, view = "gtm_staging.base_salesforce__account", "gtm_staging.stg_salesforce__account"
        warehouse.execute(f"create schema warehouse.gtm_staging; create table warehouse.{base} as from {base}")
        warehouse.execute(f"create view warehouse.{view} as from warehouse.{base}")
        warehouse.execute("update gtm_meta.consumed_batches set batch_id = 'landing' where batch_id = 'external'")
    staging_path(home.path / "warehouse.duckdb").unlink()
    assert accounts(home) == {"001a"}
    assert home.rows("select count(*) from gtm_meta.consumed_batches where batch_id = 'landing'") != [(0,)]

    home.external = home.external if is_external_still else None
    home.build("+dim_account_scd2")

    assert accounts(home) == ({"001a"} if is_external_still else {account(1, at(2))["id"]})
    assert home.rows("select table_name from duckdb_tables() where table_name ~ 'land(ed|ing)_'") == []
    assert home.rows("select count(*) from gtm_meta.consumed_batches where batch_id = 'landing'") == [(0,)]
    assert home.rows("select model from gtm_meta.consumed_batches group by all") == [("dim_account_scd2",)]
    schemas = home.rows(
        "select database_name, schema_name from duckdb_schemas() where schema_name = 'gtm_staging'"
    )
    assert schemas == [("staging", "gtm_staging")]
    assert home.consumed("base_salesforce__account") != set()


def test_columns_are_passed_through_from_external_tables_and_from_the_lake_under_contracts(tmp_path):
    given = {
        "pass_through_columns": {
            "opportunity": ["my_field_c", {"name": "my_score_c", "data_type": "double"}],
            "account": ["tier_c"],
            "task": ["new_c"],
        }
    }
    models = ["+fct_opportunity", "+dim_account", "+fct_task"]
    external = Home(
        tmp_path / "external",
        external=loaded(
            tmp_path / "external.duckdb",
            ACCOUNT.replace("'Acme' as name", "'Acme' as name, 'Gold' as Tier__c"),
            "create table gtm_raw.opportunity as select '006a' as id, 'x' as My_Field__c, '0.5' as my_score_c,"
            " date '2026-03-31' as close_date, now() as _fivetran_synced",
            "create table gtm_raw.task as select '00Ta' as id, null::varchar as New__c, now() as _fivetran_synced",
        ),
    )
    lake = Home(tmp_path / "lake")
    empty_tables(lake, *TABLES_OF_DEALS)
    lake.land("opportunity", partition(2), opportunity(1, at(2), my_field_c="x", my_score_c=0.5))
    lake.land("account", partition(2), account(1, at(2), tier_c="Gold"))
    lake.land("task", partition(2), task(1, at(2), new_c="then"))

    for home in (external, lake):
        home.seed().build(*models, variables=given)
        assert home.rows("select my_field_c, my_score_c from gtm_core.fct_opportunity") == [("x", 0.5)]
        assert home.rows("select tier_c from gtm_core.dim_account order by account_name") == [("Gold",), (None,)]
        assert home.rows(
            "select data_type from information_schema.columns where table_name = 'fct_task'"
            " and column_name = 'new_c'"
        ) == [("VARCHAR",)]

    # On: a change of a passed-through column alone. Off: the columns go again.
    lake.land("task", partition(3), task(1, at(3), new_c="now"))
    lake.build(*models, variables=given)
    assert lake.rows("select new_c from gtm_core.fct_task") == [("now",)]
    lake.build(*models)
    columns = {row[0] for row in lake.rows("select column_name from information_schema.columns")}
    assert not columns & {"my_field_c", "my_score_c", "tier_c", "new_c"}


TABLES_OF_DEALS = ("account", "user", "contact", "opportunity", "task")


def test_the_contract_holds_beside_what_is_passed_through(tmp_path):
    from gtm_assets_tests.dbt_harness import parsed

    manifest = parsed().deepcopy()
    manifest.nodes["model.gtm_dbt.dim_account"].columns["industry"].data_type = "bigint"
    with_tier = ACCOUNT.replace("'Acme' as name", "'Acme' as name, 'Gold' as tier_c")
    home = Home(tmp_path / "gtm", manifest, loaded(tmp_path / "external.duckdb", with_tier))

    result = home.dbt(
        "run", "--select", "+dim_account", variables={"pass_through_columns": {"account": ["tier_c"]}}
    )

    assert "dim_account: error" in describe(result) and "contract" in describe(result)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"acount": ["tier_c"]}, "names acount, of which"),
        ({"account": ["industry"]}, "names account.industry, which"),
    ],
)
def test_what_can_not_be_passed_through_is_refused_by_name(tmp_path, given, complaint):
    with pytest.raises(BuildError, match=complaint):
        Home(tmp_path / "gtm").build("base_salesforce__account", variables={"pass_through_columns": given})


def test_source_tests_and_freshness_read_external_tables_and_a_missing_table_fails_none(tmp_path):
    home = Home(tmp_path / "gtm", external=loaded(tmp_path / "external.duckdb", ACCOUNT))

    result = home.dbt("source", "freshness")

    found = {r.node.name: r for r in result.result}
    assert str(found["account"].max_loaded_at)[:19] == "2026-01-05 12:00:00"
    assert found["account"].status == "error"
    assert found["contact"].status == "pass"
    # As a source test would read them.
    counts = "select (select count(*) from {{ source('salesforce', 'account') }} where id = '001a'),"
    shown = home.dbt("show", "--inline", counts + " (select count(id) from {{ source('salesforce', 'contact') }})")
    assert shown.success, shown.exception
    assert tuple(shown.result.results[0].agate_table.rows[0]) == (1, 0)


def test_the_external_database_is_not_written_and_free_when_the_build_has_ended(tmp_path):
    path = loaded(tmp_path / "external.duckdb", ACCOUNT)
    before = path.read_bytes()
    home = Home(tmp_path / "gtm", external=path)
    # Who else reads it would keep out a build that opens it for writing.
    reads = (
        f"import duckdb; held = duckdb.connect({str(path)!r}, read_only=True); print('open', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reads], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "open\n"

        home.build("+dim_account")

        reader.communicate("\n", timeout=60)

    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.glob("external*")] == ["external.duckdb"]
    writes = f"import duckdb; duckdb.connect({str(path)!r}).execute('create table gtm_raw.new as select 1 as id')"
    subprocess.run([sys.executable, "-c", writes], check=True, timeout=60)


def test_a_build_as_of_external_tables_is_refused(tmp_path):
    home = Home(tmp_path / "gtm", external=loaded(tmp_path / "external.duckdb", ACCOUNT))

    with pytest.raises(BuildError, match="as_of needs the lake"):
        home.build("base_salesforce__account", variables={"as_of": "2026-01-03"})


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        ((), "has none of the tables"),
        (("create table gtm_raw.account as select 'Acme' as name, now() as _fivetran_synced",), "no column id"),
    ],
)
def test_an_external_database_that_can_not_be_read_says_why(tmp_path, statements, complaint):
    home = Home(tmp_path / "gtm", external=loaded(tmp_path / "external.duckdb", *statements))

    with pytest.raises(BuildError, match=complaint):
        home.build("base_salesforce__account")
