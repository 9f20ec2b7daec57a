"""Several currencies: refused, or converted by the rates of a seed, and an amount without a rate is told."""

from __future__ import annotations

from datetime import date

import duckdb
import pytest
from dbt.artifacts.resources.types import NodeType

from gtm_assets_tests.dbt_harness import Home, at, opportunity, partition

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
    with duckdb.connect(str(home.path / "warehouse.duckdb")) as connection:
        connection.execute("delete from gtm_staging.currency_rates")
        for rate in rates:
            connection.execute("insert into gtm_staging.currency_rates values (?, ?, ?)", rate)


def refused(home: Home, **variables: str) -> list[tuple]:
    """The rows with which the test on deals fails: currencies and counts. None where it passes."""
    select = ["--select", "fct_opportunity,test_name:one_currency", "--indirect-selection", "cautious"]
    result = home.dbt("test", *select, "--store-failures", variables=variables)
    (test,) = (ran.node for ran in result.result.results if ran.node.resource_type == NodeType.Test)
    rows = home.rows(f"select * from {test.schema}.{test.alias}")
    assert result.success == (not rows)
    return sorted(rows)


def test_several_currencies_are_refused_without_a_reporting_currency(two_currencies):
    give_rates(two_currencies, ("EUR", "2026-01-01", "1.1"))
    two_currencies.build("+fct_opportunity")

    assert refused(two_currencies) == [("EUR", 3), ("USD", 1)]


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
    two_currencies.build("+fct_opportunity", variables=TO_USD)

    assert refused(two_currencies, **TO_USD) == [("EUR", 1)]


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
    home.build("+rep_forecast_accuracy", variables=TO_USD)

    def passes() -> bool:
        return home.dbt("test", "--select", "forecasts_have_a_rate", variables=TO_USD).success

    assert not passes()
    give_rates(home, ("EUR", "2026-01-01", "1.1"), ("GBP", "2026-01-01", "1.3"))
    home.build("int_currency_rates", variables=TO_USD)
    assert passes()
