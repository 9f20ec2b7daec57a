"""Several currencies: refused, or converted by the rates of a seed, and an amount without a rate is told."""

from __future__ import annotations

import re
from datetime import date

import pytest
from dbt.artifacts.resources.types import NodeType

from gtm_assets.dbt.project import TransformError, raise_on_failure
from gtm_assets.dbt.sample import rows_of
from gtm_assets.dbt.tests import failure as describe_failure
from gtm_assets.engines.files import connect
from gtm_assets_tests.dbt_harness import CREATED, Home, at, opportunity, parsed, partition, with_ancestors

TO_USD = {"reporting_currency": "USD"}


@pytest.fixture(scope="module")
def two_currencies(tmp_path_factory) -> Home:
    """A home with deals won in euros and dollars, and an open one in euros."""
    home = Home(tmp_path_factory.mktemp("currencies") / "gtm")
    won = {"is_closed": True, "is_won": True, "owner_id": "005000000000000001"}
    home.land(
        "opportunity",
        partition(2),
        opportunity(1, at(2), amount=100, currency_iso_code="EUR", close_date=date(2026, 1, 1), **won),
        opportunity(2, at(2), amount=100, currency_iso_code="EUR", close_date=date(2026, 1, 2), **won),
        opportunity(3, at(2), amount=7, currency_iso_code="USD", close_date=date(2026, 1, 2), **won),
        opportunity(4, at(2), amount=50, currency_iso_code="EUR", probability=50.0, close_date=date(2026, 3, 1)),
    )
    assert home.dbt("seed").success
    return home


def give_rates(home: Home, *rates: tuple[str, str, str]) -> None:
    """What a team writes into the seed: currency, first day, rate."""
    with connect(home.path / "warehouse.duckdb", read_only=False) as connection:
        connection.execute("delete from gtm_staging.currency_rates")
        for rate in rates:
            connection.execute("insert into gtm_staging.currency_rates values (?, ?, ?)", rate)


def refused(home: Home, **variables: str) -> list[tuple]:
    """The rows with which the one test on currencies fails: currency and amounts. None where it passes."""
    select = ["--select", "test_name:one_currency"]
    result = home.dbt("test", *select, "--store-failures", variables=variables)
    (test,) = (ran.node for ran in result.result.results if ran.node.resource_type == NodeType.Test)
    rows = home.rows(f"select * from {test.schema}.{test.alias}")
    assert result.success == (not rows)
    return sorted(rows)


AMOUNTS = "int_amount_currencies"


def test_several_currencies_are_refused_without_a_reporting_currency(two_currencies):
    give_rates(two_currencies, ("EUR", "2026-01-01", "1.1"))
    two_currencies.build(f"+{AMOUNTS}")

    assert refused(two_currencies) == [
        ("EUR", "days of opportunities 102, opportunities 3"),
        ("USD", "days of opportunities 34, opportunities 1"),
    ]


def test_several_currencies_are_told_once_with_what_mends_it_and_nothing_adds_them(tmp_path):
    home = Home(tmp_path / "gtm")
    won = {"is_closed": True, "is_won": True, "close_date": date(2026, 1, 2)}
    home.land(
        "opportunity",
        partition(2),
        opportunity(1, at(2), currency_iso_code="EUR", **won),
        opportunity(2, at(2), currency_iso_code="USD", **won),
    )
    for table, record in {
        "campaign": {"id": "701000000000000001", "actual_cost": 5, "budgeted_cost": 6, "created_date": CREATED},
        "forecasting_quota": {"id": "0F1000000000000001", "quota_amount": 100},
        "forecasting_item": {"id": "0F0000000000000009", "forecast_amount": 100},
    }.items():
        home.land(table, partition(2), record | {"currency_iso_code": "EUR", "system_modstamp": at(2)})
    result = home.dbt("build", "--exclude-resource-type", "unit_test")

    with pytest.raises(TransformError) as refusal:
        raise_on_failure(result)

    _, failed, *rest = str(refusal.value).splitlines()
    assert failed == "test one_currency_int_amount_currencies_ failed"
    (left_out,) = rest
    cause, names = left_out.removesuffix(".").split(": ")
    assert cause == "Not built because of test one_currency_int_amount_currencies_"
    # What counts deals and adds no amount is built.
    assert {"rep_owner_performance", "rep_pipeline_health", "fct_pipeline_snapshot"} <= set(names.split(", "))
    assert not {"fct_opportunity", "fct_activity", "rep_daily_activity"} & set(names.split(", "))
    (test,) = (ran for ran in result.result.results if ran.status == "fail")
    with connect(home.path / "warehouse.duckdb") as connection:
        rows = rows_of(connection, test.node.compiled_code)
    assert describe_failure(test.node.to_dict(), test.failures, rows) == (
        "EUR: days of opportunities 34, campaign budgets 1, campaign costs 1, opportunities 1, quotas 1; USD: "
        "days of opportunities 34, opportunities 1. The amounts that reports add are of one currency. Where they "
        "are of several: set the var reporting_currency in gtm_dbt/dbt_project.yml, give each other currency its "
        "rates in the seed currency_rates (gtm_dbt/seeds/currency_rates.csv), and run: gtm run."
    )


def test_whatever_adds_converted_amounts_is_built_after_their_currencies_are_known():
    models = {n.unique_id: n for n in parsed().nodes.values() if n.resource_type == NodeType.Model}
    amounts = f"model.gtm_dbt.{AMOUNTS}"
    makes_them = {name.removeprefix("model.gtm_dbt.") for name in models[amounts].depends_on.nodes}
    # A certified dataset is a view: what it shows is added up by who reads it, once it is published.
    adds = [
        node.name
        for node in models.values()
        if re.search(r"(amount|cost)_converted\b|converted\(", node.raw_code)
        and node.name not in {*makes_them, AMOUNTS}
        and node.fqn[1] != "certified"
    ]

    assert len(adds) >= 10
    assert [name for name in adds if AMOUNTS not in with_ancestors(name)] == []


def test_reports_add_what_was_converted_by_the_rate_of_the_close_date(two_currencies):
    give_rates(two_currencies, ("EUR", "2026-01-01", "1.1"), ("EUR", "2026-01-02", "1.25"))
    two_currencies.build("+rep_owner_performance", "+fct_pipeline_snapshot", variables=TO_USD)

    assert refused(two_currencies, **TO_USD) == []
    assert two_currencies.rows(
        "select won_amount, pipeline_amount, weighted_pipeline_amount from gtm_mart.rep_owner_performance"
        " where won_count > 0 or pipeline_count > 0"
    ) == [(pytest.approx(110 + 125 + 7), pytest.approx(62.5), pytest.approx(31.25))]
    assert two_currencies.rows("select distinct amount, weighted_amount from gtm_core.fct_pipeline_snapshot") == [
        (pytest.approx(62.5), pytest.approx(31.25))
    ]


def test_an_amount_without_a_rate_is_told_with_its_currency(two_currencies):
    give_rates(two_currencies, ("EUR", "2026-01-02", "1.25"), ("GBP", "2026-01-01", "1.3"))
    two_currencies.build(f"+{AMOUNTS}", variables=TO_USD)

    assert refused(two_currencies, **TO_USD) == [("EUR", "days of opportunities 33, opportunities 1")]


def test_a_forecast_without_a_rate_is_told_though_it_is_gone_by_now(two_currencies):
    """The report shows what was forecast then; without a rate it would show 0."""
    home = two_currencies
    item = {"id": "0F0000000000000001", "period_id": "026000000000000001", "forecast_amount": 100}
    period = {"id": item["period_id"], "type": "Month"}
    period |= {"start_date": date(2026, 1, 1), "end_date": date(2026, 1, 31)}
    home.land("period", partition(2), period | {"system_modstamp": at(2)})
    home.land("forecasting_item", partition(2), item | {"currency_iso_code": "GBP", "system_modstamp": at(2)})
    home.land(
        "forecasting_item",
        partition(3),
        item | {"currency_iso_code": "GBP", "system_modstamp": at(3), "_fivetran_deleted": True},
    )
    give_rates(home, ("EUR", "2026-01-01", "1.1"))
    home.build(f"+{AMOUNTS}", variables=TO_USD)

    assert refused(home, **TO_USD) == [("GBP", "past forecasts 1")]
    give_rates(home, ("EUR", "2026-01-01", "1.1"), ("GBP", "2026-01-01", "1.3"))
    home.build("int_currency_rates", AMOUNTS, variables=TO_USD)
    assert refused(home, **TO_USD) == []
