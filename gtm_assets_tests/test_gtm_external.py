"""`gtm run` in external mode, as a process: what it builds, what it says, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import os
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from gtm_assets_tests.externals import SAMPLE, load_sample
from gtm_assets_tests.gtm_process import SMALL, GtmHome

pytestmark = pytest.mark.slow

LAST_SYNCED = datetime(2019, 11, 26, 20, 18, 23, tzinfo=UTC)
"""The newest `_fivetran_synced` of the sample, a user's."""


def external_home(path: Path, external: Path) -> GtmHome:
    settings = {**SMALL, "GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": str(external)}
    return GtmHome(path, tuple(settings.items()))


def query(path: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the sample is not at {SAMPLE}")
@pytest.mark.nightly
def test_tables_that_fivetran_loaded_are_built_proven_and_published(tmp_path):
    external = load_sample(tmp_path / "external.duckdb")
    content = external.read_bytes()
    home = external_home(tmp_path / "gtm", external)

    said = home.run().check().output

    for model, file, mark in (
        ("dim_account", "account", "is_deleted"),
        ("dim_contact", "contact", "is_deleted"),
        ("dim_lead", "lead", "is_deleted"),
        ("dim_user", "user", "_fivetran_deleted"),
        ("dim_product", "product_2", "is_deleted"),
        ("fct_task", "task", "is_deleted"),
        ("fct_event", "event", "is_deleted"),
        ("fct_opportunity", "opportunity", "is_deleted"),
        ("fct_opportunity_line_item", "opportunity_line_item", "is_deleted"),
    ):
        id_column = model.split("_", 1)[1] + "_id"
        with (SAMPLE / f"{file}.csv").open(newline="", encoding="utf-8") as lines:
            there = {
                row["id"]
                for row in csv.DictReader(lines)
                if row[mark].lower() != "true" and row.get("_fivetran_active", "").lower() != "false"
            }
        found = query(home.published, f"select {id_column} from gtm_core.{model} where {id_column} <> 'unknown'")
        assert sorted(row[0] for row in found) == sorted(there), model
    assert "external  salesforce.user: 10 rows, loaded until 2019-11-26 20:18 UTC" in said
    assert f"source     external: schema gtm_raw of {external}" in said
    assert "not there and counted as empty: salesforce.account_history, salesforce.campaign," in said
    assert "salesforce.task.activity_date: 10 values are more than a date and are cut to one" in said

    # The file says where it is from; there are no partitions.
    assert query(
        home.published,
        "select read_from, as_of, first_partition, partition_count from gtm_meta.publication",
    ) == [("external", LAST_SYNCED, None, 0)]
    assert query(home.published, "select count(*) from gtm_meta.published_partitions") == [(0,)]
    assert query(
        home.published,
        "select external_name, row_count, newest_synced_at from gtm_meta.external_tables"
        " where table_name in ('user', 'campaign') order by table_name",
    ) == [(None, 0, None), ("user", 10, LAST_SYNCED)]

    # Dagster knows how fresh each table is.
    os.environ["DAGSTER_HOME"] = str(home.path / "dagster")
    try:
        with dg.DagsterInstance.get() as instance:
            records = instance.fetch_observations(dg.AssetKey(["salesforce", "user"]), limit=10).records
            missing = instance.fetch_observations(dg.AssetKey(["salesforce", "campaign"]), limit=10).records
    finally:
        del os.environ["DAGSTER_HOME"]
    (observed,) = (r.asset_observation.metadata for r in records)
    assert observed["dagster/last_updated_timestamp"].value == LAST_SYNCED.timestamp()
    assert observed["dagster/row_count"].value == 10
    assert [r.asset_observation.metadata["in_external_database"].value for r in missing] == [False]

    doctor = home.in_process("doctor")
    assert "holds 10 of the 25 tables, loaded until 2019-11-26 20:18 UTC" in doctor.output
    assert "lacks created_by_id, created_date, currency_iso_code" in doctor.output
    assert external.read_bytes() == content


@pytest.mark.nightly
def test_a_value_that_can_not_be_read_is_named_and_what_was_published_stays(tmp_path):
    external = tmp_path / "external.duckdb"
    with duckdb.connect(str(external)) as connection:
        connection.execute("create schema gtm_raw")
        connection.execute(
            "create table gtm_raw.opportunity as"
            " select '006a' as id, 'plenty' as amount, now() as _fivetran_synced"
        )
    home = external_home(tmp_path / "gtm", external)

    failed = home.run()

    assert failed.code == 1
    assert (
        "salesforce.opportunity.amount: 1 values are not a decimal(24,6), such as plenty of 006a" in failed.output
    )
    assert not home.published.exists()


def test_what_an_external_database_does_not_have_is_refused_in_a_sentence(tmp_path):
    home = external_home(tmp_path / "gtm", tmp_path / "nowhere.duckdb")
    empty = tmp_path / "empty.duckdb"
    duckdb.connect(str(empty)).close()
    text = tmp_path / "text.duckdb"
    text.write_text("no database" * 500)
    there = external_home(tmp_path / "gtm", empty)

    refusals = {
        f"there is no external database at {tmp_path}/nowhere.duckdb": home.run(),
        "has no schema gtm_raw (it has main)": there.in_process("run"),
        f"the external database {text} can't be read": external_home(tmp_path / "gtm", text).in_process("run"),
        "--from, --to and --full-extraction land records": there.in_process("run", "--from", "2026-09-10"),
        "--as-of needs the lake": there.in_process("run", "--as-of", "2026-09-10"),
    }

    for complaint, refused in refusals.items():
        assert refused.code == 1
        assert complaint in refused.output
        assert "Traceback" not in refused.output
    doctor = home.in_process("doctor")
    assert doctor.code == 1 and f"there is no external database at {tmp_path}/nowhere.duckdb" in doctor.output
    without = dataclasses.replace(home, settings=(*SMALL.items(), ("GTM_SALESFORCE_SOURCE", "external")))
    assert "needs GTM_EXTERNAL_DATABASE" in without.in_process("run").output


def test_the_names_of_an_older_release_work_and_are_told_once_a_command(tmp_path):
    settings = {
        **SMALL,
        "GTM_SALESFORCE_SOURCE": "landed",
        "GTM_LANDING_DATABASE": str(tmp_path / "nowhere.duckdb"),
    }
    home = GtmHome(tmp_path / "gtm", tuple(settings.items()))

    told = home.command("doctor").output

    assert told.count("note: GTM_LANDING_DATABASE is now called GTM_EXTERNAL_DATABASE") == 1
    assert told.count("note: GTM_SALESFORCE_SOURCE=landed is now GTM_SALESFORCE_SOURCE=external") == 1
    assert f"there is no external database at {tmp_path}/nowhere.duckdb" in told
