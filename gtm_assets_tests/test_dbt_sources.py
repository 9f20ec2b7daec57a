"""The dbt source files say what the catalogues say."""

import pytest
import yaml

from gtm_assets.sources.dbt_sources import SOURCES, source_file, source_path


@pytest.mark.parametrize("source", SOURCES)
def test_the_committed_source_file_is_the_catalogue(source):
    assert source_path(source).read_text(encoding="utf-8") == source_file(source), "run: make sources"


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
