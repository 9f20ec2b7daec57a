"""A run with nothing to do makes no run, and says how what is published stands; whatever has changed makes one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from gtm_assets.automation import jobs
from gtm_assets.lake.store import Lake
from gtm_assets.publishing import standing as module
from gtm_assets.publishing.standing import Standing, standing
from gtm_assets.settings import Settings, load_settings
from gtm_assets_tests.gtm_process import GtmHome

pytestmark = pytest.mark.slow


@pytest.fixture
def home(built_home, tmp_path) -> GtmHome:
    """A copy of a state folder of which everything has been built and published."""
    shutil.copytree(built_home.path, tmp_path / "gtm")
    return replace(built_home, path=tmp_path / "gtm")


def settings_of(home: GtmHome, **changes: str) -> Settings:
    return load_settings({**dict(home.settings), "GTM_HOME": str(home.path), **changes})


@pytest.fixture
def instance(home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(settings_of(home).dagster_home)) as instance:
        yield instance


def stands(home: GtmHome, instance: dg.DagsterInstance, **changes: str) -> Standing | None:
    settings = settings_of(home, **changes)
    return standing(settings, Lake(settings.lake_dir), instance, jobs.PUBLISHING)


def test_a_run_with_nothing_to_do_says_how_what_is_published_stands(home, built_home, instance):
    runs, was = instance.get_runs_count(), home.published.read_bytes()

    ended = home.run().check()

    newest = instance.get_runs(limit=1)[0].run_id[:8]
    assert f"all stands as built by run {newest}" in ended.output
    assert instance.get_runs_count() == runs
    assert home.published.read_bytes() == was
    # The checks and what they said are those of the run that published.
    said = built_home.output_file.read_text().rsplit("gtm run", 1)[1]
    assert [line for line in said.splitlines() if line.strip().startswith("warned:")] == [
        line for line in ended.output.splitlines() if line.strip().startswith("warned:")
    ]


def last_batch(home: GtmHome) -> Path:
    return sorted((home.path / "lake").glob("salesforce/contact/partition=*/*.parquet"))[-1]


def damage_a_file(home: GtmHome) -> None:
    os.truncate(last_batch(home), 100)


def remove_a_batch(home: GtmHome) -> None:
    last_batch(home).unlink()


def write_the_warehouse(home: GtmHome) -> None:
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("update gtm_core.dim_user set user_name = 'Somebody'")


def remove_what_is_published(home: GtmHome) -> None:
    home.published.unlink()


@pytest.mark.parametrize("change", [damage_a_file, remove_a_batch, write_the_warehouse, remove_what_is_published])
def test_whatever_has_changed_in_the_state_folder_makes_a_run(home, instance, change: Callable[[GtmHome], None]):
    assert stands(home, instance)

    change(home)

    assert stands(home, instance) is None


def test_another_setting_makes_a_run(home, instance):
    assert stands(home, instance, GTM_RECONCILIATION_ALLOWANCE="0.01") is None


def test_other_code_makes_a_run(home, instance, tmp_path, monkeypatch):
    (tmp_path / "gtm_assets").mkdir()
    (tmp_path / "gtm_assets" / "a_module.py").write_text("")
    monkeypatch.setattr(module, "PROJECT_DIR", tmp_path)

    assert stands(home, instance) is None


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_a_run_since_then_makes_another(home, instance, status):
    """Whatever it did, or failed to do, is looked at."""
    instance.add_run(dg.DagsterRun(job_name=jobs.EXTRACT, status=status))

    assert stands(home, instance) is None


def test_what_an_older_release_published_makes_a_run(home, instance):
    with duckdb.connect(str(home.published)) as connection:
        connection.execute("alter table gtm_meta.publication drop column built_from")

    assert stands(home, instance) is None


def test_it_says_when_it_was_published_in_utc(home, instance):
    found = stands(home, instance)

    assert found and found.published_at.tzinfo == UTC
    assert found.published_at < datetime.now(UTC)
    assert found.checks_passed > 400
    assert found.rows["model.gtm_dbt.fct_opportunity"] > 0
