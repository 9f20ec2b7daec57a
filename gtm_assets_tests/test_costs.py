"""What builds and queries cost, and what becomes of a role that has used up its budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import duckdb
import pytest

from gtm_assets import clock
from gtm_assets.dbt.costs import BuildCosts, DailyCost
from gtm_assets.serving import budgets
from gtm_assets.serving.access_file import DEFAULT, AccessError, parse
from gtm_assets.serving.names import BUDGETS_CHECK, TELLS
from gtm_assets_tests.postgres_server import database, needs_audit, needs_postgres, running
from gtm_assets_tests.test_access import Organisation, made

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


# -- builds ----------------------------------------------------------------------------------------------------


def test_the_dearest_models_are_those_of_the_last_days_with_the_days_before_for_comparison(tmp_path):
    costs = BuildCosts(tmp_path / "home" / "costs.sqlite")
    assert (costs.daily(), costs.dearest(NOW, 30, 10), costs.by_month()) == ([], [], [])
    for run, (days, seconds) in enumerate(
        [(1, {"a": 2.0, "b": 9.0}), (2, {"a": 1.5}), (40, {"a": 7.0, "c": 50.0})]
    ):
        costs.add(f"run {run}", NOW - timedelta(days=days), seconds.items())
    # A build that is entered again counts once.
    costs.add("run 0", NOW - timedelta(days=1), [("a", 2.0)])

    dearest = [(one.model, one.builds, one.seconds, one.seconds_before) for one in costs.dearest(NOW, 30, 10)]
    assert dearest == [("b", 1, 9.0, 0.0), ("a", 2, 3.5, 7.0)]
    assert [one.model for one in costs.dearest(NOW, 30, 1)] == ["b"]
    assert costs.by_month() == [("2026-11", 12.5), ("2026-10", 57.0)]
    assert DailyCost(date(2026, 11, 28), "a", 1, 2.0) in costs.daily()
    costs.add("run 9", NOW + timedelta(days=380), [("a", 1.0)])
    assert [one.day for one in costs.daily()] == [
        date(2026, 11, 27),
        date(2026, 11, 28),
        date(2026, 11, 28),
        date(2027, 12, 14),
    ]


@pytest.mark.slow
def test_a_run_publishes_what_building_each_model_took(built_home):
    with duckdb.connect(str(built_home.published), read_only=True) as published:
        rows = published.execute("select model, builds, seconds from gtm_meta.cost_daily").fetchall()
    costs = {model: (builds, seconds) for model, builds, seconds in rows}
    assert {"fct_opportunity", "base_salesforce__account", "rep_sales_velocity"} <= costs.keys()
    assert all(builds > 0 and seconds > 0 for builds, seconds in costs.values())
    said = built_home.command("cost").check().output
    assert "The models that took longest to build and test in the last 30 days" in said


# -- budgets ---------------------------------------------------------------------------------------------------

PEOPLE = """
  ana: {roles: [analyst], scope: all}
  both: {roles: [analyst, administrator], scope: all}
  tool: {roles: [bi], scope: all}
"""


def test_a_logins_queries_count_for_each_of_its_roles():
    access = parse(DEFAULT + PEOPLE, "access.yml")
    used = {
        one.role: one for one in budgets.used(access, "gtm_", {"ana": 3600, "both": 7200, "gtm_bi": 36, "x": 9})
    }
    assert (used["analyst"].seconds, used["administrator"].seconds, used["bi"].seconds) == (10800, 7200, 36)
    assert used["analyst"].sentence == "analyst used 3.0 of 50.0 hours (6 %)"
    assert used["administrator"].percent == 0


@pytest.mark.parametrize(
    ("percent", "marks", "severity", "refused"),
    [
        (49.9, [], None, False),
        (50, [50], "notice", False),
        (79.9, [50, 75], "notice", False),
        (80, [50, 75, 80], "warning", False),
        (94.9, [50, 75, 80, 90], "warning", False),
        (95, [50, 75, 80, 90, 95], "critical", False),
        (100, [50, 75, 80, 90, 95, 100], "critical", True),
    ],
)
def test_each_mark_is_told_with_its_severity_and_only_roles_of_the_moment_are_refused(
    percent, marks, severity, refused
):
    access = parse(DEFAULT + PEOPLE, "access.yml")
    seconds = {"ana": percent * 36 * 50, "tool": percent * 36 * 100}
    roles = budgets.used(access, "gtm_", seconds)
    told = budgets.told(roles, NOW)
    assert [one["key"] for one in told if one["key"].startswith("analyst")] == [
        f"analyst 2026-11 {m}" for m in marks
    ]
    assert len(told) == 2 * len(marks)
    assert not told or told[-1]["severity"] == severity
    assert budgets.used_up(access, roles) == (["analyst"] if refused else [])


# -- the server ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def organisation(tmp_path_factory) -> Iterator[Organisation]:
    with running(auth="scram-sha-256") as own, database(own) as address:
        yield from made(address, tmp_path_factory.mktemp("counted"), own)


@pytest.fixture
def costs(organisation) -> Any:
    from gtm_assets.serving.query_costs import QueryCosts
    from gtm_assets.serving.securing import Names

    return QueryCosts(organisation.server, Names("gtm_"))


def as_owner(organisation: Organisation, *statements: str) -> None:
    with closing(organisation.server.open()) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@needs_postgres
@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (
            "select $1, t2.c3 from t2 where x = 'ana@acme.com' and n > 12.5",
            "select $1, t2.c3 from t2 where x = ? and n > ?",
        ),
        ("copy (select 'O''Neil', 'a--b') to stdout -- for Ana\n, 1", "copy (select ?, ?) to stdout ?\n, ?"),
        ("select $$Ana$$, $q$it's$q$ /* Ana's */ from u", "select ?, ? ? from u"),
    ],
)
def test_a_query_is_kept_without_its_values_and_comments(query, kept):
    from gtm_assets.serving.query_costs import without_values

    assert without_values(query) == kept


@pytest.mark.slow
@needs_audit
def test_a_snapshot_adds_what_was_counted_since_the_last_also_where_counters_begin_anew(organisation, costs):
    sleep = "select pg_sleep(0.05), 'value' as kept_out"

    def seen() -> tuple[int, float]:
        costs.snapshot()
        found = [
            one for one in costs.dearest(clock.now(), 30, 500) if one.login == "ana" and "pg_sleep" in one.query
        ]
        return sum(one.calls for one in found), sum(one.seconds for one in found)

    assert seen() == (0, 0)
    organisation.asked("ana", sleep)
    organisation.asked("ana", sleep)
    calls, seconds = seen()
    assert calls == 2 and 0.1 <= seconds < 5
    assert seen() == (2, seconds)
    as_owner(organisation, "select pg_stat_statements_reset()")
    organisation.asked("ana", sleep)
    assert seen()[0] == 3
    assert costs.seconds_by_login(clock.now())["ana"] >= 0.15
    assert costs.by_month()[0][0] == f"{clock.now():%Y-%m}"
    # Values are no part of what is kept, not even those of COPY, which the server leaves.
    assert not any("'value'" in one.query for one in costs.dearest(clock.now(), 30, 500))


@pytest.mark.slow
@needs_audit
def test_a_role_that_has_used_up_its_budget_is_refused_until_it_is_lifted_or_the_month_ends(
    organisation, costs, monkeypatch
):
    from gtm_assets.serving.securing import Names
    from gtm_assets.serving.watching import CostWatch

    # The middle of a month, whatever day it is.
    now = datetime.now(UTC).replace(day=15)
    monkeypatch.setattr(clock, "now", lambda: now)
    read = "select count(*) from gtm_reader_core.dim_user"
    text = organisation.file.read_text()
    organisation.file.write_text(text + "  both: {roles: [analyst, administrator], scope: all}\n")
    organisation.enforcer().apply()
    organisation.passwords["both"] = organisation.enforcer().rotate("both")

    def look() -> Any:
        return CostWatch(costs, organisation.enforcer(), Names("gtm_")).look()[BUDGETS_CHECK]

    def spend(login: str, hours: float) -> None:
        row = f"(date '{now:%Y-%m-%d}', '{login}', 1, 1, {hours * 3600})"
        as_owner(organisation, f"insert into gtm_meta.query_daily values {row}")

    assert look().passed
    spend("tool", 101)
    spend("rita", 42)
    found = look()
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "analyst used 42.0 of 50.0 hours (84 %)" in found.sentence and "refused" not in found.sentence
    # What loads dashboards has used up its budget, and goes on.
    assert organisation.asked("tool", "select count(*) from gtm_reader_mart.rep_executive_summary") == [(1,)]
    session = organisation.address_of("ana")
    spend("ana", 8)
    found = look()
    assert "analyst is refused until the month ends" in found.sentence
    assert "analyst 100 %" in " ".join(
        f"{one['key'].split()[0]} {one['key'].split()[2]} %" for one in found.figures[TELLS].value
    )
    with pytest.raises(Exception, match=r"too many connections for role \"ana\""):
        organisation.asked("ana", read)
    assert session and organisation.asked("both", read) == [(5,)]
    # That is no difference from the file, and is not undone by enforcing it.
    assert organisation.enforcer().check().passed
    organisation.enforcer().apply()
    with pytest.raises(Exception, match="too many connections"):
        organisation.asked("ana", read)
    with pytest.raises(AccessError, match=r"bi is not refused\. Refused are: analyst"):
        organisation.enforcer().lift("bi", "boss")
    with pytest.raises(AccessError, match="no role analysts"):
        organisation.enforcer().lift("analysts", "boss")
    organisation.enforcer().lift("analyst", "boss")
    assert organisation.asked("ana", read) == [(5,)]
    assert "refused" not in look().sentence
    assert organisation.asked("ana", read) == [(5,)]
    # In the next month it is refused again, and let in when that one ends.
    now = now + timedelta(days=30)
    assert look().passed
    spend("ana", 51)
    assert "analyst is refused" in look().sentence
    with pytest.raises(Exception, match="too many connections"):
        organisation.asked("ana", read)
    now = now + timedelta(days=30)
    assert look().passed
    assert organisation.asked("ana", read) == [(5,)]
    assert organisation.enforcer().check().passed
