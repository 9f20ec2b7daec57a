"""Which models are built afresh though nobody asked for it, and why: a table, dbt's log, Dagster's metadata."""

from __future__ import annotations

import dagster as dg
import pytest

from gtm_assets.dbt.assets import _completed
from gtm_assets.dbt.process import NodeEnded, RebuildsDecided, build_beside
from gtm_assets.dbt.project import build_arguments, manifest_path
from gtm_assets.engines.files import connect
from gtm_assets.settings import load_settings
from gtm_assets_tests.dbt_harness import Home, account, at, partition
from gtm_assets_tests.test_dbt_external import ACCOUNT, loaded

BASE, VERSIONS, HISTORY = MODELS = ("base_salesforce__account", "int_account_versions", "dim_account_scd2")


@pytest.fixture
def home(tmp_path) -> Home:
    """Three models that have been built before, each from the one before it, and what they need beside."""
    home = Home(tmp_path / "gtm").seed()
    home.land("account", partition(2), account(1, at(2)))
    home.build("+dim_account_scd2")
    return home


def reasons(home: Home) -> dict[str, set[str]]:
    """The reasons by the model."""
    found: dict[str, set[str]] = {}
    for model, reason in home.rows("select model, reason from gtm_meta.rebuild_reasons"):
        found.setdefault(model, set()).add(reason)
    return found


def test_a_model_that_builds_on_what_is_there_has_no_reason(home):
    home.build(*MODELS)

    assert reasons(home) == {}


def test_a_full_refresh_and_a_day_are_reasons_for_all_that_is_built(home):
    home.build(BASE, VERSIONS, full_refresh=True)
    assert reasons(home) == {name: {"a full refresh was asked for"} for name in (BASE, VERSIONS)}

    home.build(VERSIONS, variables={"as_of": "2026-01-04"})
    assert reasons(home) == {VERSIONS: {"the table holds what was not known yet as of 2026-01-04"}}


def test_the_reason_of_a_parent_is_that_of_its_children_until_they_have_been_built_afresh(home, tmp_path):
    """Base goes from the lake to an external database and back, and its children are built alone, later."""
    home.external = loaded(tmp_path / "external.duckdb", ACCOUNT)
    home.build(*MODELS)
    assert set(reasons(home)) == set(MODELS)
    assert {reason for found in reasons(home).values() for reason in found} == {
        "nothing tells which rows of the external database are new"
    }

    home.external = None
    of_external = {"its rows are those of external tables, which are not read any more"}
    home.build(BASE)
    assert reasons(home) == {BASE: of_external}
    home.build(BASE)
    assert reasons(home) == {}
    home.build(HISTORY, VERSIONS)
    assert reasons(home) == {VERSIONS: of_external, HISTORY: of_external}
    home.build(*MODELS)
    assert reasons(home) == {}
    ids = home.rows("select account_id from gtm_core.dim_account_scd2 where account_id <> 'unknown'")
    assert ids == [(account(1, at(2))["id"],)]


def test_the_rows_of_a_source_that_is_off_are_a_reason(home):
    with connect(home.path / "warehouse.duckdb", read_only=False) as connection:
        connection.execute(f"insert into gtm_meta.consumed_batches values ('{HISTORY}', 'pipedrive.users', 'x')")
    home.build(*MODELS)
    assert reasons(home) == {}

    home.without = "pipedrive"
    home.build(BASE, HISTORY)
    assert reasons(home) == {HISTORY: {"it holds rows of pipedrive, which is off"}}


def test_columns_that_have_changed_are_named(home):
    with connect(home.path / "warehouse.duckdb", read_only=False) as connection:
        connection.execute("alter table gtm_core.dim_account_scd2 drop column rating")
        connection.execute("alter table gtm_core.dim_account_scd2 alter annual_revenue type double")
    home.build(*MODELS)

    assert reasons(home) == {
        HISTORY: {
            "its columns have changed (annual_revenue decimal(24,6) comes, annual_revenue double goes,"
            " rating varchar comes)"
        }
    }
    home.build(*MODELS)
    assert reasons(home) == {}


def test_dbt_says_why_in_its_log(home):
    said: list[str] = []

    home.dbt("run", "--select", VERSIONS, "--full-refresh", hear=lambda event: said.append(event.info.msg))

    assert f"built afresh because a full refresh was asked for: {VERSIONS}" in said


def test_compiling_takes_no_reason_of_a_build_before_it(home):
    home.build(*MODELS, full_refresh=True)

    compiled = home.dbt("compile", "--select", BASE)

    assert "No batch has come" in compiled.result.results[0].node.compiled_code


def test_the_process_that_builds_tells_the_reasons_and_dagster_shows_them(tmp_path):
    settings = load_settings({"GTM_HOME": str(tmp_path), "GTM_PIPEDRIVE_DIR": str(tmp_path)})
    manifest_path()
    home = Home(tmp_path)
    home.land("account", partition(2), account(1, at(2)))

    first, again = (
        list(build_beside(arguments, settings, settings.warehouse_path))
        for full in (False, True)
        for arguments in [build_arguments([BASE], full_refresh=full)]
    )

    assert not any(isinstance(told, RebuildsDecided) for told in first)
    reason = "a full refresh was asked for"
    assert [told.models for told in again if isinstance(told, RebuildsDecided)] == [{reason: [BASE]}]
    [model] = [told for told in again if isinstance(told, NodeEnded) and told.row_count is not None]
    assert model.built_afresh_because == (reason,)
    shown = _completed(dg.Output(None, "x"), model, {})
    assert shown.metadata["built_afresh_because"].value == reason
