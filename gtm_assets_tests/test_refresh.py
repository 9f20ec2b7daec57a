"""What `gtm run` says at its end, without a run: its events are made up here."""

from __future__ import annotations

import io
import re

import dagster as dg
import pytest
from click.testing import CliRunner
from rich.console import Console

from gtm_assets.automation import alerts
from gtm_assets.cli import main as cli
from gtm_assets.cli import run as refresh
from gtm_assets.cli.run import Outcome, _progress, _Refresh
from gtm_assets.dbt.assets import observation
from gtm_assets.dbt.external import ExternalTable
from gtm_assets.lake.store import Lake
from gtm_assets.sources.extractions import missing
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets_tests.dbt_harness import CALENDAR

BLOCKING, OTHER = (dg.AssetCheckKey(dg.AssetKey(["gtm_core", "dim_user"]), name) for name in ("keys", "volume"))


@pytest.fixture
def run() -> _Refresh:
    """The follower of a run, without instance and definitions."""
    follower = object.__new__(_Refresh)
    follower.layers = {dg.AssetKey(["salesforce", name]): "raw" for name in ("account", "task", "lead")}
    follower.outcome, follower.console = Outcome(layers=follower.layers), Console(file=io.StringIO())
    follower.blocking = {BLOCKING: True, OTHER: False}
    return follower


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Gives exit code and output of `gtm run` that ends with an outcome."""

    def end(outcome: Outcome, **given: str) -> tuple[int, str]:
        for name, value in ({"GTM_HOME": str(tmp_path / "gtm"), "GTM_EXECUTOR": "multiprocess"} | given).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(refresh, "refresh", lambda *_: outcome)
        monkeypatch.setattr(alerts, "tell_after_run", lambda *_: None)
        result = CliRunner().invoke(cli.main, ["run"])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout

    return end


def check(run: _Refresh, key: dg.AssetCheckKey, severity: dg.AssetCheckSeverity | None) -> None:
    """A check has ended: it passed, or with a severity it did not."""
    run._checked(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=severity is None,
            severity=severity or dg.AssetCheckSeverity.ERROR,
            description="It is so.",
        )
    )


@pytest.mark.parametrize(
    ("failed", "line"),
    [
        ([], "checks     1 passed, 1 warned, 0 failed"),
        ([OTHER, OTHER], "checks     1 passed, 1 warned, 2 failed: none of them blocks publishing"),
        ([BLOCKING], "checks     1 passed, 1 warned, 1 failed: 1 blocks publishing"),
        ([BLOCKING, OTHER, BLOCKING], "checks     1 passed, 1 warned, 3 failed: 2 block publishing, 1 does not"),
        ([BLOCKING, OTHER, OTHER], "checks     1 passed, 1 warned, 3 failed: 1 blocks publishing, 2 do not"),
    ],
)
def test_checks_that_failed_say_whether_they_block(run, said, failed, line):
    check(run, OTHER, None)
    check(run, OTHER, dg.AssetCheckSeverity.WARN)
    for key in failed:
        check(run, key, dg.AssetCheckSeverity.ERROR)
    run.outcome.published = BLOCKING not in failed

    code, output = said(run.outcome)

    lines = output.splitlines()
    assert line in lines
    assert code == (1 if BLOCKING in failed else 0)
    told = [re.sub(" +", " ", found).strip() for found in lines if "It is so." in found]
    assert told == [
        "warned: gtm_core/dim_user volume. It is so.",
        *(
            "failed, blocks publishing: gtm_core/dim_user keys. It is so."
            if key == BLOCKING
            else "failed, blocks nothing: gtm_core/dim_user volume. It is so."
            for key in failed
        ),
    ]


def test_what_external_tables_lack_and_what_is_not_read_of_it_is_told(run, said, tmp_path):
    for name, external_name, lacking in (
        ("account", "Account", ("fax", "site")),
        ("task", "task", ()),
        ("lead", None, ()),
    ):
        table = ExternalTable("salesforce", name, external_name, False, 3, None, lacking, (), ())
        run._observed(observation(table))
    run.outcome.unread = ["order", "order_item"]
    run.outcome.published = True

    _, output = said(
        run.outcome, GTM_SALESFORCE_SOURCE="external", GTM_EXTERNAL_DATABASE=str(tmp_path / "external.duckdb")
    )

    lines = output.splitlines()
    begin = lines.index(f"source     external: schema gtm_raw of {tmp_path}/external.duckdb")
    assert lines[begin + 1 : begin + 4] == [
        "           not there and counted as empty: salesforce.lead",
        "           not there and counted as null: salesforce.account: fax, site",
        "           there and not read, not being in the catalogue: order, order_item",
    ]


def test_no_bar_is_drawn_in_a_log_even_where_colours_are_wanted(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    log = io.StringIO()
    console = Console(file=log)
    assert console.is_terminal

    with _progress(console) as progress:
        task = progress.add_task("landing partitions", total=3)
        progress.advance(task)

    assert log.getvalue() == ""


def test_the_way_to_this_minute_is_told_where_a_partition_is_open(tmp_path):
    window = CALENDAR.window("2026-01-01")
    lake = Lake(tmp_path / "lake")
    lake.land(OBJECTS[0], window, [], window.end)

    ended, going_on = (refresh._reach(lake, OBJECTS[:1], still_open) for still_open in (None, "2026-01-02"))

    assert ended == "read up to 2026-01-03 05:49 UTC, the last partition boundary"
    assert going_on == f"{ended}. Up to this minute: gtm run --now"


def test_what_tables_owe_is_due_once_they_can_be_read_again(tmp_path):
    lake, tables = Lake(tmp_path / "lake"), OBJECTS[:2]
    back, gone = tables
    days = [f"2026-01-0{day}" for day in (1, 2, 3)]
    first, second, third = (CALENDAR.window(day) for day in days)
    for table in tables:
        lake.land(table, first, [], first.end)
        lake.land_unreadable(table, second, "hidden", second.end)
    wanted = missing(lake, tables, days)

    lake.land(back, third, [], third.end)
    lake.land_unreadable(gone, third, "hidden", third.end)

    # What is owed is not asked for beside a new day, and then where the new one could be read.
    assert wanted == {table: [days[2]] for table in tables}
    assert refresh._released(lake, wanted, missing(lake, tables, days)) == {back: [days[1]]}
