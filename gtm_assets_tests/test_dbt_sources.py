"""The dbt source files say what the catalogues say."""

import pytest
import yaml

from gtm_assets.sources.dbt_sources import SOURCES, files, source_file
from gtm_assets_tests.dbt_harness import parsed


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_committed_file_is_the_catalogue(path):
    assert path.read_text(encoding="utf-8") == files()[path], "run: make sources"


def test_dbt_describes_each_raw_table_and_column_as_the_catalogue_does():
    sources = {(source.source_name, source.name): source for source in parsed().sources.values()}

    for name, (_, tables) in SOURCES.items():
        for table in tables:
            source = sources[name, table.name]
            assert source.description == table.description
            described = {column.name: column.description for column in source.columns.values()}
            assert {c.name: c.description for c in table.columns}.items() <= described.items(), table.name


@pytest.mark.parametrize("source", SOURCES)
def test_the_source_file_names_each_table_with_its_raw_asset(source):
    (entry,) = yaml.safe_load(source_file(source))["sources"]

    keys = [table["config"]["meta"]["dagster"]["asset_key"] for table in entry["tables"]]
    assert keys == [[source, table.name] for table in SOURCES[source][1]]


@pytest.mark.parametrize(
    ("source", "column"), [("salesforce", ("contact", "email")), ("pipedrive", ("users", "email"))]
)
def test_the_source_file_says_the_tier_of_personal_data(source, column):
    (entry,) = yaml.safe_load(source_file(source))["sources"]

    tiers = {
        (table["name"], column["name"]): column["config"]["meta"]["pii"]
        for table in entry["tables"]
        for column in table["columns"]
        if "pii" in column.get("config", {}).get("meta", {})
    }
    assert tiers == {(t.name, c.name): c.pii.value for t in SOURCES[source][1] for c in t.columns if c.pii}
    assert tiers[column] == "confidential"
