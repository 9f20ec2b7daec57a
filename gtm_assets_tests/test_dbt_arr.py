"""Annual recurring revenue: the columns that the var names, and what a lost renewal opened with."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest

from gtm_assets_tests.dbt_harness import BuildError, Home, account, at, opportunity, partition

HEAD = "the var arr can not be followed, so nothing was built. Mend it in dbt_project.yml:"
NAMES = {"gain": "arr_c", "loss": "arr_churn_c", "opening": "arr_c", "renewal_types": ["Renewal"]}
AMOUNTS = (
    "amount, amount_converted, arr_c, arr_churn_c, expected_revenue, weighted_amount, weighted_amount_converted"
)
OPENINGS = "amount, arr_c, arr_churn_c, expected_revenue"
NO_AMOUNT = "which is no amount that opportunities have: name one of"
ALONG = "or let the var pass_through_columns bring it along"
WON = {"is_closed": True, "is_won": True, "account_id": account(1, at(2))["id"]}
LOST = {**WON, "is_won": False, "type": "Renewal"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Home:
    """A customer who comes, and whose renewal is lost without a word of what it costs; ARR is in three places."""
    home = Home(tmp_path_factory.mktemp("arr") / "gtm").seed()
    home.land("account", partition(2), account(1, at(2)))
    home.land(
        "opportunity",
        partition(2),
        opportunity(1, at(2), arr_c=100, close_date=date(2026, 1, 2), my_plus_c="7.5", **WON),
        opportunity(2, at(2), arr_c=80, type="Renewal", account_id=WON["account_id"]),
    )
    home.land(
        "opportunity",
        partition(3),
        opportunity(2, at(3), arr_c=5, close_date=date(2026, 1, 3), my_plus_c="2", my_minus_c="0", **LOST),
    )
    return home


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {**NAMES, "gain": "arr"},
            [f"names arr as gain, {NO_AMOUNT} {AMOUNTS}, {ALONG}"],
        ),
        (
            {**NAMES, "opening": "amount_converted"},
            [f"names amount_converted as opening, {NO_AMOUNT} {OPENINGS}, {ALONG}"],
        ),
        (
            {**NAMES, "loss": "stage_name"},
            [f"names stage_name as loss, {NO_AMOUNT} {AMOUNTS}, {ALONG}"],
        ),
        (
            {"gain": "arr_c", "opening": "arr_c", "lost": "x_c", "renewal_types": "Renewal"},
            [
                "has the key lost, which says nothing: its keys are gain, loss, opening, renewal_types",
                "lacks loss: name the column of fct_opportunity that holds it",
                "gives renewal_types as Renewal, which is no list of types: write it like [Renewal]",
            ],
        ),
        (
            "arr_c",
            [
                "is arr_c, which names no columns: write it like {gain: arr_c, loss: arr_churn_c, opening: arr_c, "
                "renewal_types: [Renewal]}"
            ],
        ),
    ],
)
def test_what_is_wrong_with_the_var_is_said_before_anything_is_built(lake, given, said):
    with pytest.raises(BuildError) as refused:
        lake.build("int_account_keys", variables={"arr": given})

    assert HEAD in str(refused.value)
    assert re.findall(r"^\s*arr (.*)$", str(refused.value), flags=re.MULTILINE) == said
    assert lake.rows("select 1 from information_schema.tables where table_name = 'int_account_keys'") == []


MOVEMENTS = (
    "select opportunity_id[-1], movement_type, gained_arr, lost_arr, arr_after from gtm_core.fct_arr_movement "
    "order by all"
)


def test_a_lost_renewal_that_states_no_loss_loses_what_its_first_version_had(lake):
    home = lake.twin("stated")
    home.seed().build("+rep_arr_monthly")

    assert home.rows(MOVEMENTS) == [
        ("1", "new", Decimal("100.00"), Decimal("0.00"), Decimal("100.00")),
        ("2", "contraction", Decimal("0.00"), Decimal("80.00"), Decimal("20.00")),
    ]
    assert home.rows("select opening_arr, closing_arr, is_latest from gtm_mart.rep_arr_monthly") == [
        (Decimal("0.00"), Decimal("20.00"), True)
    ]


def test_arr_that_is_kept_elsewhere_comes_along_by_its_name(lake):
    """Versions lack what is passed through, so a lost renewal loses what it has now."""
    home = lake.twin("elsewhere")
    names = {"gain": "my_plus_c", "loss": "my_minus_c", "opening": "my_plus_c", "renewal_types": ["Renewal"]}
    columns = [{"name": name, "data_type": "decimal(24, 6)"} for name in ("my_plus_c", "my_minus_c")]
    home.seed().build(
        "+fct_arr_movement", variables={"arr": names, "pass_through_columns": {"opportunity": columns}}
    )

    assert home.rows(MOVEMENTS) == [
        ("1", "new", Decimal("7.50"), Decimal("0.00"), Decimal("7.50")),
        ("2", "contraction", Decimal("0.00"), Decimal("2.00"), Decimal("5.50")),
    ]
