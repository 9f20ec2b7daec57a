"""What the published file tells whoever opens it: what each table and column is, and how tables are joined."""

import duckdb
import pytest

from gtm_assets.publishing.parquet import copy_tables
from gtm_assets.publishing.said import META_TABLES
from gtm_assets.settings import SettingsError, load_settings


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


def test_parquet_files_hold_what_the_tables_hold(built_home, published, tmp_path):
    folder = tmp_path / "published" / "parquet"

    count = copy_tables(built_home.published, folder)

    files = {path.relative_to(folder) for path in folder.rglob("*.parquet")}
    assert len(files) == count > 60
    assert {path.parts[0] for path in files} == {"gtm_core", "gtm_mart", "gtm_certified", "gtm_meta"}
    for path in files:
        table, copied = f"{path.parts[0]}.{path.stem}", f"read_parquet('{folder / path}')"
        differing = f"(from {table} except all from {copied}) union all (from {copied} except all from {table})"
        assert published.execute(f"select count(*) from ({differing})").fetchall() == [(0,)], table
        types = [
            [(name, type_) for name, type_, *_ in published.execute(f"describe from {place}").fetchall()]
            for place in (table, copied)
        ]
        assert types[0] == types[1], table


def test_where_parquet_files_can_not_be_written_those_of_before_stay(built_home, tmp_path, monkeypatch):
    folder = tmp_path / "parquet"
    copy_tables(built_home.first_publication, folder)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}
    monkeypatch.setattr("gtm_assets.runtime.linked_folder.os.fsync", _no_room)

    with pytest.raises(OSError, match="No space left"):
        copy_tables(built_home.published, folder)

    assert {path: path.read_bytes() for path in sorted(folder.rglob("*.parquet"))} == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "parquet"] == [folder.resolve().name]
    monkeypatch.undo()
    copy_tables(built_home.published, folder)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*.parquet"))} != before


def _no_room(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_parquet_of_no_tables_is_refused(tmp_path):
    given = {"GTM_HOME": str(tmp_path), "GTM_ENGINE": "spark", "GTM_EXPORT_PUBLISHED": "false"}

    with pytest.raises(SettingsError, match="GTM_PUBLISH_PARQUET writes the tables of the published file"):
        load_settings(given | {"GTM_PUBLISH_PARQUET": "true"})
