"""What the published file tells whoever opens it: what each table and column is, and how tables are joined."""

import duckdb
import pytest

from gtm_assets.publishing.said import META_TABLES


@pytest.fixture(scope="module")
def published(built_home):
    with duckdb.connect(str(built_home.published), read_only=True) as connection:
        yield connection


def test_each_table_and_column_is_described(published):
    assert (
        published.execute(
            "select schema_name || '.' || table_name from duckdb_tables() where comment is null"
            " union all select schema_name || '.' || table_name || '.' || column_name from duckdb_columns()"
            " where comment is null and not internal order by 1"
        ).fetchall()
        == []
    )
    there = {
        f"gtm_meta.{table}": column
        for table, column in published.execute(
            "select table_name, list(column_name order by column_index) from duckdb_columns()"
            " where schema_name = 'gtm_meta' group by table_name"
        ).fetchall()
    }
    assert there == {name: [*table.columns] for name, table in META_TABLES.items()}


def test_the_keys_that_it_tells_hold(published):
    keys = published.execute("from gtm_meta.keys").fetchall()

    tables = {table for table, _, kind, *_ in keys if kind == "primary"}
    assert tables >= {"gtm_core.dim_account", "gtm_core.fct_opportunity", "gtm_mart.rep_account_health"}
    assert sum(kind == "foreign" for _, _, kind, *_ in keys) > 50
    against = []
    for table, column, kind, other, other_column in keys:
        if kind == "primary":
            query = f"select count(*) - count(distinct {column}) from {table}"
        else:
            query = (
                f"select count(*) from {table} where {column} is not null"
                f" and {column} not in (select {other_column} from {other} where {other_column} is not null)"
            )
        ((rows,),) = published.execute(query).fetchall()
        against += [(table, column, rows)] if rows else []
    assert against == []


def test_columns_that_are_tested_to_be_never_null_are_declared_so(published):
    declared = {
        (f"{schema}.{table}", column)
        for schema, table, column in published.execute(
            "select schema_name, table_name, column_name from duckdb_columns()"
            " where not is_nullable and not internal"
        ).fetchall()
    }
    primary = published.execute(
        "select table_name, column_name from gtm_meta.keys where key_type = 'primary'"
    ).fetchall()
    assert declared >= {*primary, ("gtm_core.fct_opportunity", "is_won")}
    assert ("gtm_core.fct_opportunity", "amount") not in declared
