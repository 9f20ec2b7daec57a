"""What `gtm run` tells of an external database, whether it published or not."""

from __future__ import annotations

import dagster as dg
import duckdb

from gtm_assets.cli import run as refresh
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.settings import load_settings


def test_tables_that_are_not_read_are_told_where_nothing_is_published_too(tmp_path):
    external = {"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": str(tmp_path / "external.duckdb")}
    settings = load_settings({"GTM_HOME": str(tmp_path)} | external)
    with duckdb.connect(str(Warehouse.of(settings).path)) as built:
        built.execute("create schema gtm_meta")
        built.execute("create table gtm_meta.tables_not_read as select unnest(['order', 'Quote']) as table_name")
    lead = dg.AssetKey(["salesforce", "lead"])
    refused = refresh.Outcome(rows={lead: 1}, layers={lead: "raw"}, errors=["not published"])

    assert refresh._unread(settings, refused) == ["Quote", "order"]
    # What was not listed in this run is not told.
    assert refresh._unread(settings, refresh.Outcome(errors=["a value can't be read"])) == []
