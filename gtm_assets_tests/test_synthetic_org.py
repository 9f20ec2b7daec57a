"""The synthetic org: pure, large enough, consistent, like a business and like a source."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtm_assets.partitions import Calendar, Window
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.sources.salesforce.synthetic.ahead import Ahead
from gtm_assets_tests.properties import at_most

TABLES = {table.name: table for table in OBJECTS}
CALENDAR = Calendar(date(2026, 9, 1), date(2026, 9, 30))
WINDOWS = [CALENDAR.window(f"2026-09-{day:02d}") for day in range(1, 31)]
END = WINDOWS[-1].end
SETTLED = timedelta(days=4)
"""After so long whatever was late has arrived."""
NOT_SHARED = {"legacy_score_c"}

PARENTS = {
    # table: its references to other tables, and the share of them that may lead nowhere
    "account": {"owner_id": "user", "parent_id": "account", "record_type_id": "record_type"},
    "account_history": {"account_id": "account", "created_by_id": "user"},
    "campaign": {"owner_id": "user", "parent_id": "campaign"},
    "campaign_influence": {
        "campaign_id": "campaign",
        "opportunity_id": "opportunity",
        "contact_id": "contact",
    },
    "campaign_member": {"campaign_id": "campaign", "lead_id": "lead", "contact_id": "contact"},
    "contact": {"account_id": "account", "owner_id": "user", "reports_to_id": "contact"},
    "contact_history": {"contact_id": "contact", "created_by_id": "user"},
    "email_message": {"activity_id": "task", "created_by_id": "user"},
    "event": {"account_id": "account", "owner_id": "user"},
    "forecasting_item": {
        "owner_id": "user",
        "period_id": "period",
        "parent_forecasting_item_id": "forecasting_item",
    },
    "forecasting_quota": {"quota_owner_id": "user", "period_id": "period"},
    "lead": {
        "owner_id": "user",
        "converted_account_id": "account",
        "converted_contact_id": "contact",
        "converted_opportunity_id": "opportunity",
    },
    "opportunity": {
        "account_id": "account",
        "owner_id": "user",
        "contact_id": "contact",
        "campaign_id": "campaign",
        "pricebook_2_id": "pricebook_2",
        "record_type_id": "record_type",
    },
    "opportunity_contact_role": {"opportunity_id": "opportunity", "contact_id": "contact"},
    "opportunity_field_history": {"opportunity_id": "opportunity", "created_by_id": "user"},
    "opportunity_line_item": {
        "opportunity_id": "opportunity",
        "pricebook_entry_id": "pricebook_entry",
        "product_2_id": "product_2",
    },
    "pricebook_entry": {"pricebook_2_id": "pricebook_2", "product_2_id": "product_2"},
    "task": {"account_id": "account", "owner_id": "user"},
    "user": {"manager_id": "user", "user_role_id": "user_role", "created_by_id": "user"},
    "user_role": {"parent_role_id": "user_role", "forecast_user_id": "user"},
}
MAY_HIDE = {
    ("opportunity", "account_id"),
    ("opportunity", "owner_id"),
    ("opportunity_field_history", "created_by_id"),
    ("task", "account_id"),
    ("task", "owner_id"),
    ("event", "account_id"),
    ("event", "owner_id"),
    ("email_message", "created_by_id"),
}


def pull(org: SyntheticOrg, table: str, window: Window) -> pl.DataFrame:
    """All pages of an extraction; a frame without rows where nothing was found."""
    pages = list(org.changes(TABLES[table], window))
    types = {column: type_.polars for column, type_ in TABLES[table].types.items()}
    return pl.concat(pages) if pages else pl.DataFrame(schema=types)


def snapshot(org: SyntheticOrg, table: SalesforceObject, at: datetime) -> pl.DataFrame:
    """All pages of a full extraction, sorted by id."""
    return pl.concat(org.snapshot(table, Window("any", None, at))).sort("id")


@pytest.fixture(scope="module")
def org() -> SyntheticOrg:
    return SyntheticOrg()


@pytest.fixture(scope="module")
def larger() -> SyntheticOrg:
    """For what is too rare in the default org."""
    return SyntheticOrg(scale=0.12)


@pytest.fixture(scope="module")
def pulls(org) -> dict[str, list[pl.DataFrame]]:
    """The default 30 partitions of each table."""
    return {name: [pull(org, name, window) for window in WINDOWS] for name in TABLES}


@pytest.fixture(scope="module")
def snapshots(org) -> dict[str, pl.DataFrame]:
    return {name: snapshot(org, table, END) for name, table in TABLES.items()}


@pytest.fixture(scope="module")
def settled(org) -> dict[str, pl.DataFrame]:
    return {name: snapshot(org, table, END + SETTLED) for name, table in TABLES.items()}


# A pure function


@pytest.mark.parametrize("name", ["account", "lead", "opportunity", "opportunity_line_item", "task", "user"])
def test_a_fresh_org_asked_in_another_order_gives_the_same_frames(pulls, snapshots, name):
    fresh = SyntheticOrg()
    for day in (17, 29, 3):
        assert pull(fresh, name, WINDOWS[day]).equals(pulls[name][day])
    assert snapshot(fresh, TABLES[name], END).equals(snapshots[name])


def test_what_an_old_window_shows_is_not_changed_by_having_looked_far_ahead(pulls):
    org = SyntheticOrg()
    for name in ("forecasting_item", "campaign_member", "email_message", "account_history"):
        snapshot(org, TABLES[name], datetime(2028, 3, 1, tzinfo=UTC))
        assert pull(org, name, WINDOWS[5]).equals(pulls[name][5])


def test_windows_asked_for_in_turn_are_made_one_ahead_and_are_the_same(pulls):
    org, made = SyntheticOrg(), []
    changes = org._ahead._make
    org._ahead._make = lambda table, window: made.append(window.end) or changes(table, window)
    asked = [6, 7, 8, 9, 12, 13, 9]
    for day in asked:
        assert pull(org, "task", WINDOWS[day]).equals(pulls["task"][day])

    wait_for_the_thread(org._ahead)
    # After the second of a row of windows the next one is made, and what was made is not made again.
    assert sorted(made) == [WINDOWS[day].end for day in (6, 7, 8, 9, 9, 10, 12, 13, 14)]


def test_an_error_of_a_window_made_ahead_is_raised_where_the_window_is_asked_for(pulls):
    org, failed = SyntheticOrg(), []
    changes = org._ahead._make

    def make(table, window):
        if window.end == WINDOWS[8].end and not failed:
            failed.append(window)
            raise OSError("no memory")
        return changes(table, window)

    org._ahead._make = make
    for day in (6, 7):
        pull(org, "task", WINDOWS[day])
    with pytest.raises(OSError, match="no memory"):
        pull(org, "task", WINDOWS[8])
    assert pull(org, "task", WINDOWS[8]).equals(pulls["task"][8])


def wait_for_the_thread(ahead: Ahead) -> None:
    assert ahead._thread is not None
    ahead._thread.submit(lambda: None).result()


def test_another_seed_is_another_org(snapshots):
    other = SyntheticOrg(seed=2)
    for name in ("account", "opportunity", "task", "user"):
        assert not snapshot(other, TABLES[name], END).equals(snapshots[name])


# Enough of everything


@pytest.mark.parametrize("scale", [0.001, 0.01])
def test_no_scale_has_fewer_records_than_the_floors(scale):
    org = SyntheticOrg(scale=scale)
    count = {name: snapshot(org, TABLES[name], END).height for name in TABLES}

    floors = {"user": 25, "account": 200, "contact": 500, "product_2": 10, "campaign": 30, "opportunity": 800}
    assert {name: floor for name, floor in floors.items() if count[name] < floor} == {}
    assert count["task"] + count["event"] + count["email_message"] >= 2000
    assert all(count.values())


def test_the_default_org_has_three_levels_of_users_four_families_and_ten_stages(snapshots):
    user = snapshots["user"]
    reports = dict(user.select("id", "manager_id").iter_rows())
    above = {i: sum(1 for _ in itertools.takewhile(bool, _chain(i, reports))) for i in reports}

    assert set(above.values()) >= {0, 1, 2}
    assert set(snapshots["product_2"]["family"]) == {"Software", "Services", "Support", "Training"}
    assert snapshots["opportunity_stage"].height == 10
    assert set(snapshots["opportunity"]["type"]) == {"New Business", "Renewal", "Upsell"}


def _chain(user: str, reports: dict):
    while user := reports[user]:
        yield user


def test_three_fiscal_years_have_their_periods_and_the_next_one_comes_before_it_begins(org):
    period, later = (snapshot(org, TABLES["period"], datetime(2026, 9, day, tzinfo=UTC)) for day in (20, 26))
    by_kind = dict(period["type"].value_counts().iter_rows())

    assert by_kind == {"Month": 36, "Quarter": 12, "Year": 3}
    assert period["start_date"].min() == date(2024, 1, 1)
    assert later["end_date"].max() == date(2027, 12, 31)


def test_each_representative_has_a_quota_and_all_forecasts_in_each_quarter(snapshots):
    quota, item = snapshots["forecasting_quota"], snapshots["forecasting_item"]
    quarters = snapshots["period"].filter(pl.col("type") == "Quarter")
    reps = quota["quota_owner_id"].unique()
    # Quotas of the next quarter are there already; its forecasts come shortly before it begins.
    with_quota, forecast = (
        quarters.filter(pl.col("start_date") <= last)["id"] for last in (date(2027, 1, 1), date(2026, 10, 1))
    )
    cells = pl.DataFrame({"owner_id": reps}).join(pl.DataFrame({"period_id": forecast}), how="cross")
    managers = snapshots["user"]["manager_id"].unique()

    assert len(reps) >= 15
    assert not reps.is_in(managers.implode()).any()
    sellers = set(snapshots["opportunity"]["owner_id"]) & set(snapshots["user"]["id"])
    assert sellers <= set(reps)
    assert quota.unique(["quota_owner_id", "period_id"]).height == quota.height == len(reps) * len(with_quota)
    assert set(quota["period_id"]) == set(with_quota)
    forecasts = item.group_by("owner_id", "period_id").agg(pl.col("forecasting_item_category").n_unique())
    found = cells.join(forecasts, on=["owner_id", "period_id"], how="left")
    assert (found["forecasting_item_category"] == 4).all()


@pytest.mark.parametrize("day", [date(2026, 10, 1), date(2026, 11, 15), date(2026, 12, 31)])
def test_quotas_and_periods_of_the_next_quarter_are_there_all_quarter_long(org, day):
    at = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
    quota, period = (snapshot(org, TABLES[name], at) for name in ("forecasting_quota", "period"))
    next_quarter = period.filter((pl.col("type") == "Quarter") & (pl.col("start_date") == date(2027, 1, 1)))["id"]

    assert len(next_quarter) == 1
    assert quota.filter(pl.col("period_id") == next_quarter[0]).height >= 15
    assert set(quota["period_id"]) <= set(period["id"])


# Typed, keyed and related


@pytest.mark.parametrize("name", TABLES)
def test_frames_have_the_catalogues_columns_and_types(pulls, name):
    types = {column: type_.polars for column, type_ in TABLES[name].types.items()}
    first, last = pulls[name][0], pulls[name][-1]

    assert dict(first.schema) == types
    drifted = {c: t for c, t in types.items() if (name, c) != ("lead", "legacy_score_c")}
    if name == "opportunity":
        drifted["competitor_c"] = pl.String()
    assert dict(last.schema) == drifted


@pytest.mark.parametrize("name", TABLES)
def test_each_record_is_once_in_a_snapshot_sorted_under_an_id_of_its_object(snapshots, name):
    ids = snapshots[name]["id"]

    assert ids.null_count() == 0
    assert ids.n_unique() == len(ids)
    assert ids.is_sorted()
    assert (ids.str.head(3) == TABLES[name].key_prefix).all()


def test_ids_carry_the_true_checksum(snapshots):
    for name in TABLES:
        for found in snapshots[name]["id"].head(200):
            assert found == found[:15] + _checksum(found[:15])


def _checksum(short: str) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    chunks = (short[i : i + 5] for i in (0, 5, 10))
    return "".join(letters[sum(1 << j for j, c in enumerate(chunk) if "A" <= c <= "Z")] for chunk in chunks)


def test_the_three_histories_share_a_prefix_and_no_id(snapshots):
    names = ("account_history", "contact_history", "opportunity_field_history")
    ids = pl.concat([snapshots[name]["id"] for name in names])

    assert ids.n_unique() == len(ids)


@pytest.mark.parametrize(
    "when", [END, datetime(2024, 9, 4, 20, tzinfo=UTC), datetime(2025, 6, 3, 16, 20, tzinfo=UTC)]
)
def test_each_reference_leads_to_a_record_that_is_visible_then(org, when):
    shown = {name: snapshot(org, table, when) for name, table in TABLES.items()}
    for name, references in PARENTS.items():
        for column, parent in references.items():
            values = shown[name][column].drop_nulls()
            missing = values.filter(~values.is_in(shown[parent]["id"].implode()))
            allowed = 0.01 * len(values) + 2 if (name, column) in MAY_HIDE else 0
            assert len(missing) <= allowed, (name, column, missing.head(3))


def test_a_few_references_lead_to_records_that_nobody_shows(snapshots):
    task, users, accounts = snapshots["task"], snapshots["user"]["id"], snapshots["account"]["id"]

    assert 0 < (~task["owner_id"].is_in(users.implode())).sum() < 0.006 * task.height
    assert 0 < (~task["account_id"].drop_nulls().is_in(accounts.implode())).sum() < 0.006 * task.height


@pytest.mark.parametrize("name", ["task", "event"])
def test_who_and_what_are_of_several_objects_and_the_account_agrees(snapshots, name):
    rows = snapshots[name]
    shown = {"006": "opportunity", "001": "account", "701": "campaign", "003": "contact", "00Q": "lead"}
    for column, prefixes in (("what_id", {"006", "001", "701"}), ("who_id", {"003", "00Q"})):
        values = rows[column].drop_nulls()
        assert set(values.str.head(3)) == prefixes
        for prefix in prefixes:
            of = values.filter(values.str.head(3) == prefix)
            missing = (~of.is_in(snapshots[shown[prefix]]["id"].implode())).mean()
            assert missing < 0.01, (column, prefix)

    deals = snapshots["opportunity"].select("id", deal_account="account_id")
    about_deal = rows.join(deals, left_on="what_id", right_on="id")
    assert about_deal.height > 0.4 * rows.height
    assert (about_deal["account_id"] == about_deal["deal_account"]).mean() > 0.99
    about_account = rows.filter(pl.col("what_id").str.starts_with("001"))
    assert (about_account["account_id"] == about_account["what_id"]).all()


def test_a_campaign_member_is_a_lead_or_a_contact_and_each_person_is_there_once(snapshots):
    member = snapshots["campaign_member"]

    assert (member["lead_id"].is_null() ^ member["contact_id"].is_null()).all()
    assert member.unique(["campaign_id", "lead_id", "contact_id"]).height == member.height
    assert (member["has_responded"] == member["first_responded_date"].is_not_null()).all()
    assert (member["has_responded"] == (member["status"] == "Responded")).all()
    assert 0.1 < member["has_responded"].mean() < 0.5


def test_a_converted_lead_became_a_contact_an_account_and_often_an_opportunity(snapshots):
    lead, contact = snapshots["lead"], snapshots["contact"]
    converted = lead.filter("is_converted")
    met = converted.join(contact, left_on="converted_contact_id", right_on="id", suffix="_contact")

    assert 0.1 < converted.height / lead.height < 0.25
    assert met.height == converted.height
    assert (met["email"] == met["email_contact"]).all()
    assert (met["name"] == met["name_contact"]).all()
    assert (met["created_date_contact"] == met["last_modified_date"]).mean() > 0.9
    assert (met["created_date_contact"] > met["created_date"]).all()
    assert converted["converted_account_id"].null_count() == 0
    assert set(converted["status"]) == {"Qualified"}
    deal = converted.join(
        snapshots["opportunity"], left_on="converted_opportunity_id", right_on="id", suffix="_deal"
    )
    assert 0.2 < deal.height / converted.height < 0.5
    assert (deal["converted_account_id"] == deal["account_id"]).mean() > 0.98
    assert lead.filter(~pl.col("is_converted"))["converted_date"].is_null().all()


def test_influence_adds_up_to_the_whole_deal_in_each_model(larger):
    influence = snapshot(larger, TABLES["campaign_influence"], END + SETTLED)
    shares = influence.group_by("opportunity_id", "model_id").agg(
        pl.col("influence").sum(), pl.col("revenue_share").sum(), uneven=pl.len() > 1
    )
    deals = shares.join(
        snapshot(larger, TABLES["opportunity"], END + SETTLED), left_on="opportunity_id", right_on="id"
    )

    assert deals.height == shares.height > 30
    assert shares["uneven"].any()
    assert (shares["influence"] == 100).all()
    assert (deals["revenue_share"] == deals["amount"]).all()
    assert deals["is_won"].all()


@pytest.mark.parametrize("name", ["account", "contact", "lead"])
def test_what_others_refer_to_is_there_from_its_creation(larger, name):
    at = datetime(2024, 9, 1, 20, tzinfo=UTC)
    shown = snapshot(larger, TABLES[name], at)
    later = snapshot(larger, TABLES[name], at + SETTLED)

    assert later.filter(pl.col("created_date") < at).height == shown.height > 0


# Like a business


def test_about_three_deals_in_ten_close_in_the_last_week_of_a_quarter(snapshots):
    closed = snapshots["opportunity"].filter("is_closed")
    day = pl.col("close_date")
    quarter_end = day.dt.truncate("1q").dt.offset_by("1q")
    rushed = closed.select((quarter_end - day).dt.total_days() <= 7).to_series()

    assert closed.height > 500
    assert 0.25 <= rushed.mean() <= 0.35
    assert (closed["close_date"] > closed["created_date"].dt.date()).all()


def test_deal_sizes_are_log_normal_and_grow_with_the_company(snapshots):
    deals = (
        snapshots["opportunity"]
        .filter(pl.col("is_closed"))
        .join(snapshots["account"].select("id", "segment_c"), left_on="account_id", right_on="id")
    )
    logs = deals.select(pl.col("amount").cast(pl.Float64).log()).to_series()
    medians = dict(deals.group_by("segment_c").agg(pl.col("amount").median()).iter_rows())

    assert abs(logs.skew()) < 0.5
    assert logs.std() > 0.8
    assert medians["Startup"] < medians["SMB"] < medians["Mid-Market"] < medians["Enterprise"]


def test_a_deals_fields_agree_with_its_stage(snapshots):
    stages = snapshots["opportunity_stage"]
    deals = snapshots["opportunity"].join(stages, left_on="stage_name", right_on="api_name", suffix="_stage")
    cents = (deals["amount"] * 100).cast(pl.Int64)
    expected = (deals["expected_revenue"] * 100).cast(pl.Int64)

    assert deals.height == snapshots["opportunity"].height
    assert deals["stage_name"].n_unique() == 10
    assert (deals["probability"] == deals["default_probability"]).all()
    for column in ("forecast_category", "forecast_category_name", "is_closed", "is_won"):
        assert (deals[column] == deals[f"{column}_stage"]).all(), column
    assert ((cents * deals["probability"] / 100 - expected).abs() <= 0.5).all()
    assert (deals["fiscal_year"] == deals["close_date"].dt.year()).all()
    assert (deals["fiscal_quarter"] == deals["close_date"].dt.quarter()).all()
    lost_renewals = deals.filter((pl.col("type") == "Renewal") & (pl.col("stage_name") == "Closed Lost"))
    assert (lost_renewals["arr_churn_c"] == lost_renewals["amount"]).all()


def test_the_stage_of_each_deal_is_rebuilt_from_its_field_history(snapshots, settled):
    field = {"StageName": "stage_name", "Amount": "amount", "CloseDate": "close_date", "OwnerId": "owner_id"}
    history = settled["opportunity_field_history"]
    # As a text an amount has its cents, as the deals of all releases had: another text is another version.
    deals = snapshots["opportunity"].with_columns(pl.col("amount").cast(pl.Decimal(18, 2)))
    for api_name, column in field.items():
        rows = history.filter(pl.col("field") == api_name).join(
            deals.select("id", "system_modstamp"), left_on="opportunity_id", right_on="id"
        )
        past = rows.filter(pl.col("created_date") <= pl.col("system_modstamp")).sort("created_date")
        steps = past.with_columns(before=pl.col("new_value").shift(1).over("opportunity_id"))
        steps = steps.filter(pl.col("opportunity_id").is_first_distinct().not_())
        assert steps["before"].eq_missing(steps["old_value"]).all(), api_name
        last = past.group_by("opportunity_id", maintain_order=True).last()
        met = deals.join(last, left_on="id", right_on="opportunity_id", suffix="_row")
        assert met["new_value"].eq_missing(met[column].cast(pl.String)).all(), api_name
        assert met.height > (100 if api_name == "OwnerId" else 500)
    created = history.filter(pl.col("field") == "created")
    assert created.join(
        deals, left_on=["opportunity_id", "created_date"], right_on=["id", "created_date"]
    ).height == (deals.height)
    assert 12 < history.height / deals.height < 20


def test_stages_move_back_now_and_then(settled):
    order = dict(settled["opportunity_stage"].select("api_name", "sort_order").iter_rows())
    moves = settled["opportunity_field_history"].filter(pl.col("field") == "StageName")
    steps = [order[new] - order[old] for old, new in moves.select("old_value", "new_value").iter_rows()]

    assert 0.04 < np.mean(np.array(steps) < 0) < 0.25


def test_the_lines_of_a_closed_deal_add_up_to_its_amount(settled):
    live = settled["opportunity_line_item"].filter(~pl.col("is_deleted"))
    sums = live.group_by("opportunity_id").agg(pl.col("total_price").sum())
    closed = settled["opportunity"].filter(pl.col("is_closed") & ~pl.col("is_deleted"))
    met = closed.join(sums, left_on="id", right_on="opportunity_id")
    product = live.select(
        pl.col("quantity") * pl.col("unit_price").cast(pl.Float64) * (1 - pl.col("discount").fill_null(0) / 100)
    ).to_series()

    assert met.height > 0.5 * closed.height
    assert (met["total_price"] == met["amount"]).all()
    assert ((product - live["total_price"].cast(pl.Float64)).abs() < 0.005).all()


def test_activities_cluster_about_the_days_on_which_deals_close(snapshots):
    rows = snapshots["task"].join(
        snapshots["opportunity"].filter("is_closed").select("id", "close_date", opened="created_date"),
        left_on="what_id",
        right_on="id",
    )
    days = rows.select((pl.col("close_date") - pl.col("created_date").dt.date()).dt.total_days()).to_series()

    assert ((days >= -7) & (days <= 14)).mean() > 0.5
    assert (rows["opened"] < rows["created_date"]).all()


def test_account_types_follow_won_deals(settled):
    won = settled["opportunity"].filter(pl.col("is_won") & ~pl.col("is_deleted"))["account_id"]
    account = settled["account"].filter(~pl.col("is_deleted"))
    customers = account.filter(pl.col("type").is_in(["Customer", "Former Customer"]))
    prospects = account.filter(pl.col("type") == "Prospect")

    assert customers["id"].is_in(won.implode()).mean() > 0.97
    assert prospects["id"].is_in(won.implode()).mean() < 0.05


def test_what_was_opened_was_sent_and_what_was_clicked_was_opened(snapshots):
    email = snapshots["email_message"]
    sent = email.filter(~pl.col("incoming"))

    assert 0.2 < email["incoming"].mean() < 0.5
    assert not email.filter("incoming")["is_opened"].any()
    assert (sent["click_count_c"] <= sent["open_count_c"]).all()
    assert (sent["click_count_c"] > 0).any()
    assert (sent["is_opened"] == (sent["open_count_c"] > 0)).all()
    assert (sent["is_opened"] == sent["first_opened_date"].is_not_null()).all()
    assert (sent["last_opened_date"] >= sent["first_opened_date"]).drop_nulls().all()


def test_a_completed_task_says_when_and_only_it(snapshots):
    task = snapshots["task"]

    assert (task["is_closed"] == (task["status"] == "Completed")).all()
    assert (task["is_closed"] == task["completed_date_time"].is_not_null()).all()
    assert 0.7 < task["is_closed"].mean() < 0.97
    assert task["status"].n_unique() == 5
    assert (task.filter(pl.col("call_duration_in_seconds").is_not_null())["task_subtype"] == "Call").all()


def test_an_event_lasts_from_its_start_to_its_end(snapshots):
    event = snapshots["event"]
    minutes = (event["end_date_time"] - event["start_date_time"]).dt.total_minutes()

    assert (minutes == event["duration_in_minutes"]).all()
    assert set(event.filter(~pl.col("is_all_day_event"))["duration_in_minutes"]) == {15, 30, 45, 60, 90, 120}
    assert event["is_all_day_event"].any()


def test_closed_forecasts_are_what_the_owner_has_won(settled, org):
    item, period = settled["forecasting_item"], settled["period"]
    deals = settled["opportunity"].filter("is_won")
    quarter = period.filter((pl.col("type") == "Quarter") & (pl.col("start_date") == date(2026, 4, 1)))
    closed = item.filter(
        (pl.col("period_id") == quarter["id"][0]) & (pl.col("forecasting_item_category") == "ClosedOnly")
    )
    won = deals.filter(
        pl.col("close_date").is_between(date(2026, 4, 1), date(2026, 6, 30)) & ~pl.col("is_deleted")
    )
    sums = won.group_by("owner_id").agg(pl.col("amount").sum())
    met = closed.join(sums, on="owner_id")

    assert met.height > 5
    assert (met["owner_only_amount"] == met["amount"]).mean() > 0.8
    assert (closed["forecast_amount"] >= closed["owner_only_amount"]).all()


# Like a source


def test_about_one_record_in_a_hundred_changes_in_a_day(pulls, snapshots):
    for name in ("account", "contact", "lead"):
        changed = [
            page.filter(pl.col("created_date") < window.start).height
            for page, window in zip(pulls[name][1:], WINDOWS[1:], strict=True)
        ]
        share = sum(changed) / len(changed) / snapshots[name].height
        assert 0.005 < share < 0.015, (name, share)


def newest(frames: list[pl.DataFrame], table: str) -> pl.DataFrame:
    """The newest version of each record, as the warehouse folds them."""
    everything = pl.concat(frames, how="diagonal")
    folded = everything.sort(TABLES[table].cursor).unique("id", keep="last").sort("id")
    return folded.drop(NOT_SHARED, strict=False)


@pytest.mark.parametrize("name", TABLES)
def test_the_partitions_folded_are_the_snapshot_at_their_end(pulls, snapshots, name):
    folded = newest(pulls[name], name)
    expected = snapshots[name].drop(NOT_SHARED, strict=False)

    assert folded.select(expected.columns).equals(expected)


@settings(
    max_examples=at_most(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    name=st.sampled_from(["account", "lead", "opportunity", "email_message", "task", "opportunity_contact_role"]),
    cuts=st.lists(
        st.datetimes(datetime(2024, 9, 1), datetime(2027, 6, 1), timezones=st.just(UTC)),
        min_size=2,
        max_size=4,
        unique=True,
    ).map(sorted),
)
def test_windows_cut_anywhere_fold_to_the_snapshot_at_the_last_cut(org, name, cuts):
    frames = [
        pull(org, name, Window("any", start, end)) for start, end in zip([None, *cuts[:-1]], cuts, strict=True)
    ]

    expected = snapshot(org, TABLES[name], cuts[-1]).drop(NOT_SHARED, strict=False)
    assert newest(frames, name).select(expected.columns).equals(expected)


def test_what_arrives_once_has_its_stamp_in_the_window_or_is_late(pulls):
    late = 0
    for name, table in TABLES.items():
        for page, window in zip(pulls[name][1:], WINDOWS[1:], strict=True):
            stamps = page[table.cursor]
            assert (stamps < window.end).all()
            assert (stamps >= window.start - SETTLED).all()
            late += (stamps < window.start).sum()
    assert late > 5


def test_some_rows_come_twice_in_a_pull_and_some_again_the_next_day(pulls):
    within = across = 0
    for name, table in TABLES.items():
        keys = ["id", table.cursor]
        for earlier, later in itertools.pairwise(pulls[name]):
            within += later.height - later.unique(keys).height
            again = later.join(earlier.select(keys).unique(), on=keys, how="semi")
            if again.height:
                across += again.height
                first = earlier.join(again.select(keys), on=keys, how="semi").unique().sort("id")
                shared = [c for c in first.columns if c in again.columns]
                assert first.select(shared).equals(again.unique().sort("id").select(shared))
        within += pulls[name][0].height - pulls[name][0].unique(keys).height
    assert within > 20
    assert across > 0


def test_records_are_deleted_with_a_new_stamp_and_some_come_back(pulls):
    deleted = restored = 0
    for name, table in TABLES.items():
        if "is_deleted" not in table.types or table.cursor != "system_modstamp":
            continue
        pages = pl.concat([page.select("id", "system_modstamp", "is_deleted") for page in pulls[name]])
        versions = pages.unique().sort("id", "system_modstamp")
        before = versions["is_deleted"].shift(1).fill_null(False)
        same = (versions["id"] == versions["id"].shift(1)).fill_null(False)
        deleted += (same & ~before & versions["is_deleted"]).sum()
        restored += (same & before & ~versions["is_deleted"]).sum()
    assert deleted > 5
    assert restored > 0


def test_a_field_appears_on_one_day_and_another_is_gone_from_a_later_one(pulls):
    added, retired = datetime(2026, 9, 11, tzinfo=UTC), datetime(2026, 9, 21, tzinfo=UTC)
    for name, column, is_there in (
        ("opportunity", "competitor_c", lambda end: end > added),
        ("lead", "legacy_score_c", lambda end: end <= retired),
    ):
        found = [(page, window.end) for page, window in zip(pulls[name], WINDOWS, strict=True) if page.height]
        assert [column in page.columns for page, _ in found] == [is_there(end) for _, end in found]
        assert {is_there(end) for _, end in found} == {True, False}
    values = pl.concat([page["competitor_c"] for page in pulls["opportunity"] if "competitor_c" in page.columns])
    assert 0 < values.null_count() < len(values)


def test_users_change_division_and_audit_phase_now_and_then_to_a_value_off_the_list(pulls):
    seen = pl.concat(pulls["user"])
    versions = seen.unique(["id", "system_modstamp"])
    listed = {"division": {"North", "South", "East", "West", "Central"}}
    listed["audit_phase_c"] = {"Phase1", "Phase2", "Phase3", "Complete"}
    for column, values in listed.items():
        found = set(versions[column].drop_nulls())
        assert found & values
        changed = versions.group_by("id").agg(pl.col(column).n_unique())
        assert (changed[column] > 1).any()
    off_list = [set(versions[column].drop_nulls()) - values for column, values in listed.items()]
    assert any(off_list)
    inactive = versions.filter(~pl.col("is_active"))
    assert 0 < inactive["id"].n_unique() < 0.4 * versions["id"].n_unique()


def test_pages_hold_at_most_fifty_thousand_rows(larger):
    pages = [page.height for page in larger.changes(TABLES["email_message"], WINDOWS[0])]

    assert len(pages) > 1
    assert max(pages) <= 50_000


def test_names_hold_what_trips_up_careless_code(snapshots):
    people, deals = snapshots["contact"]["name"], snapshots["account"]
    texts = pl.concat(
        [people, deals["name"], deals["description"].drop_nulls(), snapshots["task"]["subject"].drop_nulls()]
    )

    for sign in ("'", '"', ",", "\n", "é", "🎉"):
        assert texts.str.contains(sign, literal=True).any(), sign
