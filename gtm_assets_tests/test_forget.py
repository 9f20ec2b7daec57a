"""``gtm source forget``: what its owner says of a table that can't be read any more."""

from __future__ import annotations

from datetime import UTC, date, datetime

import dagster as dg
import duckdb
import polars as pl
import pytest
from click.testing import CliRunner

from gtm_assets.checks.raw import VANISHED
from gtm_assets.cli import main as cli
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.sources.raw_asset import asset_key
from gtm_assets.sources.salesforce.catalog import OBJECTS

LEAD = next(table for table in OBJECTS if table.name == "lead")
CALENDAR = Calendar(date(2026, 1, 1), date(2026, 1, 31))


@pytest.fixture
def forget(tmp_path, monkeypatch):
    """Forgets a table, with these settings; gives the exit code and all that was said."""

    def run(table: str, **settings: str) -> tuple[int, str]:
        given = {"GTM_HOME": str(tmp_path / "gtm"), "GTM_START_DATE": "2026-01-01", "GTM_END_DATE": "2026-01-31"}
        for name, value in (given | settings).items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(cli.main, ["source", "forget", table])
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


def test_a_table_that_can_not_be_read_is_forgotten_and_its_check_passes(tmp_path, forget):
    lake, window = Lake(tmp_path / "gtm" / "lake"), CALENDAR.window("2026-01-01")
    leads = pl.DataFrame({"id": ["00Q1", "00Q2"], "system_modstamp": [datetime(2025, 1, 1, tzinfo=UTC)] * 2})
    lake.land(LEAD, window, [leads], window.end)
    readable = forget("salesforce.lead")
    lake.land_unreadable(LEAD, CALENDAR.window("2026-01-02"), "no right", window.end)

    forgotten = forget("lead")

    assert readable == (1, "error: salesforce.lead can be read: there is nothing to forget\n")
    assert forgotten == (
        0,
        "salesforce.lead: 2 records stay as they were last known.\n"
        "salesforce.lead stops publishing no more, until it can be read again. Next: gtm run\n",
    )
    assert lake.forgotten(LEAD) is not None
    with dg.DagsterInstance.from_config(str(tmp_path / "gtm" / "dagster")) as instance:
        key = dg.AssetCheckKey(asset_key(LEAD), VANISHED)
        (record,) = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).values()
    assert record.evaluation.passed


def test_a_table_of_which_nothing_has_landed_is_not_forgotten(forget):
    said = "error: salesforce.lead: nothing has landed, and there is nothing to forget. Run: gtm run"

    code, output = forget("lead")

    assert (code, " ".join(output.split())) == (1, said)


def test_a_table_that_another_loader_has_taken_away_is_forgotten_and_one_that_is_there_is_not(tmp_path, forget):
    database, lake = tmp_path / "external.duckdb", Lake(tmp_path / "gtm" / "lake")
    external = {"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": str(database)}
    with duckdb.connect(str(database)) as connection:
        connection.execute("create schema gtm_raw")
        # As an API names it.
        connection.execute("""create table gtm_raw."Lead" as select '00Q1' as "Id", now() as _fivetran_synced""")

    readable = forget("salesforce.lead", **external)
    assert readable == (1, "error: salesforce.lead can be read: there is nothing to forget\n")
    assert lake.forgotten(LEAD) is None
    with duckdb.connect(str(database)) as connection:
        connection.execute('alter table gtm_raw."Lead" rename to "Leads of old"')
        connection.execute("create table gtm_raw.account as select '0011' as id, now() as _fivetran_synced")

    assert forget("salesforce.lead", **external)[0] == 0
    code, said = forget("salesforce.leads")

    assert lake.forgotten(LEAD) is not None
    assert code == 1 and "salesforce.leads is not a table. The tables are: salesforce.account," in said


def test_a_missing_file_of_an_export_is_forgotten_and_one_that_is_there_is_not(tmp_path, forget):
    export = tmp_path / "export"
    export.mkdir()
    (export / "users.csv").write_text("id\n1\n")
    settings = {"GTM_PIPEDRIVE_DIR": str(export)}

    assert forget("pipedrive.fields", **settings)[0] == 0
    assert forget("pipedrive.users", **settings) == (
        1,
        "error: pipedrive.users can be read: there is nothing to forget\n",
    )
