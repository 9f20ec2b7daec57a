"""The dbt source files say what the catalogue says."""

import yaml

from gtm_assets.sources.dbt_sources import SALESFORCE_SOURCES, salesforce_source_file
from gtm_assets.sources.salesforce.catalog import OBJECTS


def test_the_committed_source_file_is_the_catalogue():
    assert SALESFORCE_SOURCES.read_text(encoding="utf-8") == salesforce_source_file(), "run: make sources"


def test_the_source_file_names_each_table_with_its_raw_asset():
    (source,) = yaml.safe_load(salesforce_source_file())["sources"]

    keys = [table["config"]["meta"]["dagster"]["asset_key"] for table in source["tables"]]
    assert keys == [["salesforce", table.name] for table in OBJECTS]


def test_the_source_file_says_the_tier_of_personal_data():
    (source,) = yaml.safe_load(salesforce_source_file())["sources"]

    tiers = {
        (table["name"], column["name"]): column["config"]["meta"]["pii"]
        for table in source["tables"]
        for column in table["columns"]
        if "pii" in column.get("config", {}).get("meta", {})
    }
    assert tiers == {(t.name, c.name): c.pii.value for t in OBJECTS for c in t.columns if c.pii}
    assert tiers["contact", "email"] == "confidential"
