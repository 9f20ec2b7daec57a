"""Amounts keep the source's decimals, in the lake as in another loader's tables; reports round once."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal

import duckdb
import polars as pl
import pytest

from gtm_assets.checks.reconciliation import reconcile_with_core
from gtm_assets.engines.files import connect
from gtm_assets_tests.dbt_harness import (
    CREATED,
    TABLES,
    Home,
    as_page,
    at,
    describe,
    opportunity,
    partition,
    user,
    with_ancestors,
)
from gtm_assets_tests.reconciliations import REPORT_RECONCILIATIONS

MODELS = (
    "fct_opportunity",
    "fct_opportunity_line_item",
    "fct_forecasting_quota",
    "fct_pipeline_snapshot",
    "rep_owner_performance",
    "rep_manager_performance",
    "rep_quota_attainment",
    "rep_pipeline_health",
    "rep_pipeline_waterfall",
    "rep_slipped_deals",
    "rep_executive_summary",
    "rep_campaign_attribution",
    "rep_lead_conversion",
    "rep_sales_velocity",
    "fct_campaign_influence",
)
LOADER_TYPES = ("decimal(24, 6)", "decimal(38, 18)", "double", "varchar")
"""What another loader may have made of a currency field."""
CENT = Decimal("0.01")


def amount_of(chance: random.Random) -> Decimal:
    """An amount of whole cents, of a half cent, or of any decimals up to the sixth."""
    decimals = chance.choice([2, 3, 4, 6])
    return Decimal(chance.randint(-(10**5), 10**8)) / 10**decimals


def records() -> dict[str, list[dict]]:
    """Deals of three owners, one of whom manages the others, with lines, quotas, campaigns and leads."""
    chance = random.Random(9)
    owners = [f"005{number:015d}" for number in (1, 2, 3)]
    line = {"created_date": CREATED, "system_modstamp": at(2), "is_deleted": False}
    deals = []
    for number in range(1, 61):
        closed = {"is_closed": number % 3 != 0, "is_won": number % 3 == 1}
        deals.append(
            opportunity(
                number,
                at(2),
                amount=None if number == 7 else amount_of(chance),
                probability=chance.choice([10.0, 33.33, 60.0]),
                owner_id=chance.choice(owners),
                campaign_id=f"701{chance.randint(1, 4):015d}",
                close_date=date(2026, 1, chance.randint(1, 3)) if closed["is_closed"] else date(2026, 3, 1),
                created_date=datetime(2025, 12, chance.randint(1, 28), 12, tzinfo=UTC),
                forecast_category="Closed"
                if closed["is_won"]
                else "Omitted"
                if closed["is_closed"]
                else "Pipeline",
                **closed,
            )
        )
    deals.append(opportunity(61, at(2), amount=Decimal("254.9745"), owner_id=owners[0]))
    lines = [
        line
        | {
            "id": f"00k{number:015d}",
            "opportunity_id": f"006{61 if number == 1 else number:015d}",
            "quantity": quantity,
            "unit_price": price,
            "total_price": Decimal(str(quantity)) * price,
        }
        for number, (quantity, price) in enumerate(
            [
                (5666.1, Decimal("0.045")),
                *((float(chance.randint(1, 50)), abs(amount_of(chance))) for _ in range(9)),
            ],
            start=1,
        )
    ]
    quotas = [
        line
        | {"id": f"0J9{n:015d}", "quota_owner_id": owner, "period_id": "026000000000000001"}
        | {"is_amount": True, "quota_amount": amount_of(chance)}
        for n, owner in enumerate(owners * 2, start=1)
    ]
    leads = [
        line
        | {
            "id": f"00Q{n:015d}",
            "is_converted": True,
            "converted_opportunity_id": f"006{n:015d}",
            "converted_date": date(2026, 1, 1),
            "lead_source": chance.choice(["Web", "Other"]),
        }
        for n in range(1, 20)
    ]
    campaigns = [
        line | {"id": f"701{n:015d}", "name": f"Campaign {n}", "actual_cost": amount_of(chance)}
        for n in range(1, 5)
    ]
    influences = [
        line
        | {"id": f"0Xk{n:015d}", "opportunity_id": f"006{chance.randint(1, 60):015d}"}
        | {"campaign_id": f"701{chance.randint(1, 4):015d}", "revenue_share": amount_of(chance)}
        for n in range(1, 40)
    ]
    # More digits than a floating point number of another loader shows without its shortest text.
    influences[0]["revenue_share"] = Decimal("16147805824397.45")
    period = {"id": "026000000000000001", "type": "Quarter", "start_date": date(2026, 1, 1)}
    period |= {"end_date": date(2026, 3, 31), "system_modstamp": at(2), "_fivetran_deleted": False}
    return {
        "user": [user(n, at(2), manager_id=owners[0] if n > 1 else None) for n in (1, 2, 3)],
        "opportunity": deals,
        "opportunity_line_item": lines,
        "forecasting_quota": quotas,
        "lead": leads,
        "campaign": campaigns,
        "campaign_influence": influences,
        "period": [period],
    }


@pytest.fixture(scope="module")
def lake_home(tmp_path_factory) -> Home:
    """The records landed in the lake, and built."""
    home = Home(tmp_path_factory.mktemp("amounts") / "gtm").seed()
    landed = [home.land(table, partition(2), *rows) for table, rows in records().items()]
    assert [landing.quarantined for landing in landed] == [0] * len(landed)
    home.build(*with_ancestors(*MODELS))
    return home


def external_home(path, types: dict[str, str]) -> Home:
    """A home that reads the same records from another loader's tables; its currency columns have these types."""
    path.mkdir()
    file = path / "external.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("create schema gtm_raw")
        for number, (table, rows) in enumerate(records().items()):
            page = as_page(rows).to_arrow()
            amounts = {c.name for c in TABLES[table].columns if c.type.sql == "decimal(24,6)"}
            given = amounts & set(page.column_names)
            types_of = {name: list(types)[(number + n) % len(types)] for n, name in enumerate(sorted(given))}
            cast = "".join(f", cast({name} as {type_}) as {name}" for name, type_ in types_of.items())
            others = f"* exclude ({', '.join(given)})" if given else "*"
            connection.execute(
                f"create table gtm_raw.{table} as select {others}{cast},"
                " timestamptz '2026-01-03 06:00:00+00' as _fivetran_synced from page"
            )
    return Home(path / "gtm", external=file)


def test_the_lake_and_another_loaders_tables_give_the_same_amounts(lake_home, tmp_path):
    home = external_home(tmp_path / "external", LOADER_TYPES).seed()
    facts = ("fct_opportunity", "fct_opportunity_line_item", "fct_forecasting_quota", "fct_campaign_influence")
    home.build(*with_ancestors(*facts))

    for fact in facts:
        measures = [
            row[0]
            for row in home.rows(
                "select column_name from duckdb_columns()"
                f" where table_name = '{fact}' and data_type like 'DECIMAL%'"
            )
        ]
        assert measures
        query = f"select columns('_id$'), {', '.join(measures)} from gtm_core.{fact} order by all"
        assert home.rows(query) == lake_home.rows(query)


def test_amounts_are_in_core_as_the_source_has_them_and_add_up_exactly(lake_home):
    given = records()
    amounts = {deal["id"]: deal["amount"] for deal in given["opportunity"]}

    assert dict(lake_home.rows("select opportunity_id, amount from gtm_core.fct_opportunity")) == amounts
    weighted = {
        deal["id"]: deal["amount"] * Decimal(str(deal["probability"])) / 100
        for deal in given["opportunity"]
        if deal["amount"] is not None
    }
    assert (
        dict(
            lake_home.rows(
                "select opportunity_id, weighted_amount from gtm_core.fct_opportunity where amount is not null"
            )
        )
        == weighted
    )
    pipeline = [deal for deal in given["opportunity"] if not deal["is_closed"]]
    assert lake_home.rows(
        "select sum(amount), sum(weighted_amount) from gtm_core.fct_pipeline_snapshot"
        " where date_day = (select max(date_day) from gtm_core.fct_pipeline_snapshot)"
    ) == [(sum(deal["amount"] for deal in pipeline), sum(weighted[deal["id"]] for deal in pipeline))]


def test_quantity_times_unit_price_is_the_total_price(lake_home):
    lines = lake_home.rows(
        "select quantity, unit_price, total_price from gtm_core.fct_opportunity_line_item"
        " order by opportunity_line_item_id"
    )

    assert lines[0] == (5666.1, Decimal("0.045"), Decimal("254.9745"))
    assert len(lines) == 10
    for quantity, unit_price, total_price in lines:
        assert Decimal(str(quantity)) * unit_price == total_price
    # The deal that consists of the first line has its amount.
    assert lake_home.rows(
        "select sum(lines.total_price), any_value(deals.amount) from gtm_core.fct_opportunity_line_item as lines"
        " join gtm_core.fct_opportunity as deals using (opportunity_id) where unit_price = 0.045"
    ) == [(Decimal("254.9745"), Decimal("254.9745"))]


def to_cents(exact: Decimal) -> Decimal:
    return exact.quantize(CENT, ROUND_HALF_UP)


def test_reports_round_once_at_the_end(lake_home):
    deals = records()["opportunity"]
    won = [deal for deal in deals if deal["is_won"]]
    owners = sorted({deal["owner_id"] for deal in deals})

    def total(of: list[dict], *who: str) -> Decimal:
        return sum((d["amount"] or Decimal(0) for d in of if d["owner_id"] in who), Decimal(0))

    assert lake_home.rows(
        "select owner_user_id, won_amount from gtm_mart.rep_owner_performance order by owner_user_id"
    ) == [(owner, to_cents(total(won, owner))) for owner in owners]
    # A team is not the sum of its members' rounded amounts.
    assert lake_home.rows(
        f"select won_amount from gtm_mart.rep_manager_performance where manager_user_id = '{owners[0]}'"
    ) == [(to_cents(total(won, *owners[1:])),)]
    with_amount = [deal["amount"] for deal in won if deal["owner_id"] == owners[1] and deal["amount"] is not None]
    assert lake_home.rows(
        f"select average_won_amount from gtm_mart.rep_owner_performance where owner_user_id = '{owners[1]}'"
    ) == [(to_cents(sum(with_amount) / len(with_amount)),)]
    assert lake_home.rows("select won_amount from gtm_mart.rep_executive_summary where won_count > 0") == [
        (to_cents(total(won, *owners)),)
    ]
    assert lake_home.rows("select sum(won_amount) from gtm_mart.rep_owner_performance") != [
        (to_cents(total(won, *owners)),)
    ], "the parts should not happen to add up, or nothing is shown here"


@pytest.mark.parametrize(
    ("amount", "count", "mean"),
    [("2.01", 2, "1.01"), ("-2.01", 2, "-1.01"), ("2.00999", 2, "1.00"), ("1", 3, "0.33"), ("0", 5, "0.00")],
)
def test_a_mean_amount_is_rounded_as_written_and_not_as_a_floating_point_number(lake_home, amount, count, mean):
    query = f"""select {{{{ average_amount("cast('{amount}' as decimal(38, 6))", {count}) }}}} as mean"""
    result = lake_home.dbt("show", "--inline", query, "--output", "json")
    assert result.success, describe(result)
    (row,) = result.result.results[0].agate_table.rows

    assert row[0] == Decimal(mean)


def test_every_sum_of_a_report_ties_to_core_in_dbts_tests(lake_home):
    result = lake_home.dbt("test", "--select", "test_type:singular")
    ran = {test.node.name: test.status for test in result.result.results}
    built = (
        "owners_add_up_to_the_opportunities",
        "quota_owners_add_up_to_quotas_and_bookings",
        "teams_add_up_to_the_whole",
    )
    assert {name: ran[name] for name in built} == dict.fromkeys(built, "pass")
    assert [name for name, status in ran.items() if status == "fail"] == []


def test_every_sum_of_a_report_ties_to_core_in_the_checks(lake_home):
    rules = [rule for rule in REPORT_RECONCILIATIONS if rule.report in MODELS]
    with connect(lake_home.path / "warehouse.duckdb") as warehouse:
        found = {rule.report: reconcile_with_core(warehouse, rule, 0.0) for rule in rules}

    assert {"rep_owner_performance", "rep_pipeline_health", "rep_quota_attainment"} < set(found)
    assert [finding.sentence for finding in found.values() if not finding.passed] == []


def test_a_lake_and_a_warehouse_of_an_older_release_take_more_decimals_without_loss(tmp_path):
    home = Home(tmp_path / "gtm")
    home.land("opportunity", partition(2), opportunity(1, at(2), amount=Decimal("100.10")))
    home.land("opportunity", partition(2), opportunity(2, at(2), amount=Decimal("16147805824397.25")))
    for batch in home.lake.batches():
        old = pl.read_parquet(batch.path)
        amounts = [name for name, type_ in old.schema.items() if type_ == pl.Decimal(24, 6)]
        assert "amount" in amounts
        old.with_columns(pl.col(amounts).cast(pl.Decimal(18, 2))).write_parquet(batch.path)
    home.build("base_salesforce__opportunity", "int_opportunity_versions")
    with connect(home.path / "warehouse.duckdb", read_only=False) as warehouse:
        for table in ("gtm_staging.base_salesforce__opportunity", "gtm_intermediate.int_opportunity_versions"):
            warehouse.execute(f"alter table {table} alter amount type decimal(18, 2)")

    again = home.land(
        "opportunity",
        partition(3),
        opportunity(1, at(2), amount=Decimal("100.10")),
        opportunity(2, at(3), amount=Decimal("0.045")),
    )
    home.build("base_salesforce__opportunity", "int_opportunity_versions")

    assert again.added == 1
    assert home.rows(
        "select id, amount, typeof(amount) from gtm_staging.base_salesforce__opportunity order by id"
    ) == [
        ("006000000000000001", Decimal("100.10"), "DECIMAL(24,6)"),
        ("006000000000000002", Decimal("0.045"), "DECIMAL(24,6)"),
    ]
    assert home.rows("select amount from gtm_intermediate.int_opportunity_versions order by amount") == [
        (Decimal("0.045"),),
        (Decimal("100.10"),),
        (Decimal("16147805824397.25"),),
    ]
