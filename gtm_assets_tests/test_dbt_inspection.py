"""What an external database holds, found without dbt: names, what is missing, what can't be read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from gtm_assets.dbt.inspection import (
    ExternalError,
    Inspection,
    WantedTable,
    inspect,
    misfit_conditions,
    names_by_what_they_stand_for,
)
from gtm_assets.dbt.project import wanted_tables
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets_tests.dbt_harness import BuildError, Home, parsed
from gtm_assets_tests.test_dbt_external import loaded

INSTANT = "timestamp with time zone"
ACCOUNT = WantedTable(
    "salesforce",
    "account",
    "Account",
    {
        "id": ("Id", "varchar"),
        "name": ("Name", "varchar"),
        "annual_revenue": ("AnnualRevenue", "decimal(24,6)"),
        "is_deleted": ("IsDeleted", "boolean"),
        "_fivetran_synced": ("_fivetran_synced", INSTANT),
    },
)
CONTACT = WantedTable("salesforce", "contact", "Contact", {"id": ("Id", "varchar")})


@pytest.fixture
def look(tmp_path):
    """A function that inspects a database made by statements."""

    def look(*statements: str, wanted=(ACCOUNT, CONTACT), passed_through=None) -> Inspection:
        path = tmp_path / "external.duckdb"
        path.unlink(missing_ok=True)
        with duckdb.connect(str(path)) as connection:
            connection.execute("set TimeZone = 'UTC'; create schema gtm_raw")
            for statement in statements:
                connection.execute(statement)
        return inspect(path, wanted, passed_through)

    return look


def table(columns: str, name: str = "account") -> str:
    return f"create table gtm_raw.{name} as select {columns}"


SOUND = "'001a' as id, timestamptz '2026-01-05 12:00:00+00' as _fivetran_synced"


def test_a_table_and_its_columns_are_found_by_any_of_their_names(look):
    for name in ("account", "ACCOUNT", "Account"):
        found = look(
            f"create table gtm_raw.\"{name}\" as select 'x' as Id, 1 as AnnualRevenue, now() as _fivetran_synced"
        )

        assert found.tables[0].external_name == name
        columns = {column.column_name: column.external_column for column in found.columns if column.is_wanted}
        assert columns == {"id": "Id", "annual_revenue": "AnnualRevenue", "_fivetran_synced": "_fivetran_synced"}


def test_a_name_that_is_there_goes_before_one_that_is_made():
    assert names_by_what_they_stand_for(["Stage_Name", "StageName"])["stage_name"] == "Stage_Name"
    assert names_by_what_they_stand_for(["StageName", "stage_name"])["stage_name"] == "stage_name"


def test_what_is_missing_and_what_is_unknown_is_named(look):
    found = look(table(f"{SOUND}, 1 as Tier__c, 2 as odd"), "create view gtm_raw.stray as select 1 as x")

    account, contact = found.tables
    assert (account.row_count, account.missing_columns) == (1, "annual_revenue, name")
    assert account.unknown_columns == "odd, Tier__c"
    assert account.newest_synced_at == datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert (contact.external_name, contact.row_count, contact.missing_columns) == (None, 0, None)
    assert [unread.table_name for unread in found.unread] == ["stray"]
    of_tier = {c.column_name for c in found.columns if c.external_column == "Tier__c" and not c.is_wanted}
    assert of_tier == {"tier__c", "tier_c"}

    passed = look(table(f"{SOUND}, 1 as Tier__c"), passed_through={"account": ["tier_c"]})
    assert passed.tables[0].unknown_columns == ""


def test_history_mode_is_told_by_the_loaders_columns(look):
    for columns, has_history in (
        ("true as _fivetran_active, now() as _fivetran_start", True),
        ("true as _fivetran_active", False),
    ):
        assert look(table(f"{SOUND}, {columns}")).tables[0].has_history is has_history


@pytest.mark.parametrize(
    ("value", "until"),
    [
        ("timestamp '2026-03-01 10:00:00'", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("date '2026-03-01'", datetime(2026, 3, 1, tzinfo=UTC)),
        ("' 2026-03-01T10:00:00Z '", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("''", None),
        ("'soon'", None),
    ],
)
def test_a_table_that_is_not_read_says_when_it_was_loaded(look, value, until):
    found = look(table(SOUND), table(f"{value} as _Fivetran_Synced", name="stray"))

    assert [(unread.table_name, unread.loaded_until) for unread in found.unread] == [("stray", until)]


@pytest.mark.parametrize(
    ("type_", "value", "shown"),
    [
        ("boolean", "'perhaps'", "perhaps"),
        ("date", "'a day'", "a day"),
        ("date", "date 'infinity'", "infinity"),
        (INSTANT, "'noon'", "noon"),
        ("bigint", "'many'", "many"),
        ("double", "double 'nan'", "nan"),
        ("double", "'inf'", "inf"),
        ("decimal(24,6)", "'a lot'", "a lot"),
        ("decimal(24,6)", "1e19", "1e+19"),
    ],
)
def test_a_value_that_can_not_be_read_is_refused_by_name(look, type_, value, shown):
    wanted = WantedTable("salesforce", "account", "Account", {"id": ("Id", "varchar"), "x": ("X", type_)})
    statement = table(f"{SOUND}, {value} as x")

    with pytest.raises(ExternalError) as refused:
        look(statement, wanted=[wanted])

    assert f"salesforce.account.x: 1 values are not a {type_}, such as {shown} of 001a" in str(refused.value)
    assert "Nothing was built" in str(refused.value)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("date", "timestamp '2026-01-02 03:00:00'"),
        ("bigint", "'1.5'"),
        ("bigint", "1.5"),
        ("decimal(24,6)", "0.0000001"),
        ("decimal(24,6)", "'1.1234567'"),
    ],
)
def test_a_value_that_is_cut_is_counted(look, type_, value):
    wanted = WantedTable("salesforce", "account", "Account", {"id": ("Id", "varchar"), "x": ("X", type_)})

    [misfit] = look(table(f"{SOUND}, {value} as x"), wanted=[wanted]).misfits

    assert (misfit.column_name, misfit.data_type, misfit.record_count, misfit.example_id) == (
        "x",
        type_,
        1,
        "001a",
    )


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("varchar", "1"),
        ("boolean", "'TRUE'"),
        ("boolean", "''"),
        ("date", "timestamp '2026-01-02 00:00:00'"),
        (INSTANT, "'2026-01-02T03:00:00Z'"),
        ("bigint", "' 12 '"),
        ("double", "'1.5'"),
        ("decimal(24,6)", "double '0.045'"),
        ("decimal(24,6)", "'999999999999999999.000001'"),
    ],
)
def test_a_value_that_fits_is_neither(look, type_, value):
    wanted = WantedTable("salesforce", "account", "Account", {"id": ("Id", "varchar"), "x": ("X", type_)})

    assert look(table(f"{SOUND}, {value} as x"), wanted=[wanted]).misfits == []


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ([], "none of the tables of the catalogue with a column _fivetran_synced"),
        ([table("'001a' as id")], "none of the tables of the catalogue with a column _fivetran_synced"),
        ([table("now() as _fivetran_synced")], "the external table account has no column id or Id"),
    ],
)
def test_what_nothing_can_be_built_from_is_refused(look, statements, said):
    with pytest.raises(ExternalError, match=said):
        look(*statements)


def test_the_database_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ExternalError, match="there is no external database at"):
        inspect(tmp_path / "none.duckdb", [ACCOUNT])
    (tmp_path / "text.duckdb").write_text("no database")
    with pytest.raises(ExternalError, match="can't be read"):
        inspect(tmp_path / "text.duckdb", [ACCOUNT])
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(ExternalError, match="has no schema gtm_raw"):
        inspect(tmp_path / "empty.duckdb", [ACCOUNT])


def test_what_was_found_is_written_with_its_types(look, tmp_path):
    look(table(SOUND)).write(tmp_path / "found")

    read = f"select * from read_parquet('{tmp_path}/found/"
    types = {
        kind: [str(type_) for type_ in duckdb.sql(f"{read}{kind}.parquet')").types]
        for kind in ("tables", "unread", "misfits")
    }
    text, instant = "VARCHAR", "TIMESTAMP WITH TIME ZONE"
    assert types == {
        "tables": [text, text, text, "BOOLEAN", "BIGINT", instant, text, text],
        "unread": [text, instant],
        "misfits": [*[text] * 4, "BIGINT", text, text],
    }
    assert not list(Path(tmp_path / "found").glob(".*"))


def test_the_catalogue_is_that_of_the_dbt_project():
    wanted = wanted_tables(parsed())

    assert {table.name for table in wanted} == {table.name for table in OBJECTS}
    for table_ in OBJECTS:
        (found,) = (entry for entry in wanted if entry.name == table_.name)
        assert found.api_name == table_.api_name
        for column in table_.columns:
            assert found.columns[column.name] == (column.api_name or column.name, column.type.sql)


def test_dbt_says_the_same_of_values_that_do_not_fit(tmp_path):
    """The conditions stand in Python for the catalogue's columns, and in a macro for those passed through."""
    types = ["varchar", "boolean", "bigint", "double", "date", INSTANT, "decimal(24,6)"]
    given = [*types, "integer", "timestamp", "float", "decimal(18,2)", "decimal(38,10)"]
    calls = [
        "{%- set found = external_misfits('x', '" + own + "', '" + type_ + "') -%}"
        "{{ found.unreadable ~ ' | ' ~ found.inexact if found else 'fits' }};"
        for own in given
        for type_ in types
    ]
    compiled = Home(tmp_path).dbt("compile", "--inline", "".join(calls))

    said = compiled.result.results[0].node.compiled_code.strip().removesuffix(";").split(";")
    conditions = [misfit_conditions("x", own, type_) for own in given for type_ in types]
    assert said == [" | ".join(found) if found else "fits" for found in conditions]


def test_dbt_by_hand_refuses_a_database_that_was_not_inspected_or_has_changed_since(tmp_path, monkeypatch):
    path = loaded(tmp_path / "external.duckdb", table(SOUND))
    home = Home(tmp_path / "gtm", external=path)
    home.build("base_salesforce__account")
    monkeypatch.setattr(Home, "inspect", lambda *_: None)
    home.build("base_salesforce__account")

    with duckdb.connect(str(path)) as connection:
        connection.execute("create table gtm_raw.more as select range as x from range(100_000)")
    with pytest.raises(BuildError, match=r"not been inspected as it is now.*gtm doctor"):
        home.build("base_salesforce__account")
    with pytest.raises(BuildError, match=r"not been inspected as it is now.*gtm doctor"):
        Home(tmp_path / "other", external=path).build("base_salesforce__account")
