"""Pipedrive's way from the files of its export to core and the funnel, whose numbers plain Python counts too."""

from __future__ import annotations

import csv
import io
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pytest
from hypothesis import strategies as st

from gtm_assets.checks import reconciliation
from gtm_assets.engines.files import connect
from gtm_assets.finding import Finding
from gtm_assets.lake.store import ExportInfo
from gtm_assets.sources.pipedrive.export import extract
from gtm_assets_tests.change_logs import examples
from gtm_assets_tests.dbt_harness import (
    CALENDAR,
    PIPEDRIVE,
    TABLES,
    Home,
    account,
    at,
    contact,
    copied_warehouse,
    empty_tables,
    partition,
    user,
    with_ancestors,
)
from gtm_assets_tests.reconciliations import REPORT_RECONCILIATIONS, SOURCE_RECONCILIATIONS

Row = dict[str, object]

NAMES = {
    "1": "Step 1: Lead Generation",
    "2": "Step 2: Qualified Lead",
    "2.1": "Step 2.1: Sales Call 1",
    "3": "Step 3: Needs Assessment",
    "3.1": "Step 3.1: Sales Call 2",
    "4": "Step 4: Proposal/Quote Preparation",
    "5": "Step 5: Negotiation",
    "6": "Step 6: Closing",
    "7": "Step 7: Implementation/Onboarding",
    "8": "Step 8: Follow-up/Customer Success",
    "9": "Step 9: Renewal/Expansion",
}
STAGE = {number: NAMES[str(number)].partition(": ")[2] for number in range(1, 10)}
CALLS = {"meeting": "2.1", "sc_2": "3.1"}
CHANGES, ACTIVITIES = "pipedrive.deal_changes", "pipedrive.activity"

# Around the ends of months, where a day of another time zone would count in another one.
_MONTHS = [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4)] + [datetime(2025, 1, 1, tzinfo=UTC)]
_INSTANTS = st.builds(
    lambda month, seconds: month + timedelta(seconds=seconds),
    st.sampled_from(_MONTHS),
    st.one_of(st.sampled_from([-1, 0, 1, -3600, 3600]), st.integers(0, 27 * 86_400)),
)
_DEALS = st.integers(1, 300)
_STAGES = st.sampled_from([*map(str, range(1, 10)), "4.0", " 5 ", "10", "0", "-3", "3.5", "three", "", None])
_VALUES = {"stage_id": _STAGES, "user_id": st.sampled_from(["1", "2"]), "add_time": st.just("2024-01-01 00:00:00")}
_CHANGES = st.sampled_from(["stage_id", "stage_id", "stage_id", "stage_id", "user_id", "add_time"]).flatmap(
    lambda key: st.fixed_dictionaries(
        {
            "deal_id": _DEALS,
            "change_time": _INSTANTS,
            "changed_field_key": st.just(key),
            "new_value": _VALUES[key],
        }
    )
)
_ACTIVITIES = st.fixed_dictionaries(
    {
        "activity_id": st.integers(1, 500),
        "type": st.sampled_from(
            ["meeting", "meeting", "sc_2", "sc_2", "follow_up", "after_close_call", "golf", None]
        ),
        "assigned_to_user": st.integers(1, 9),
        "deal_id": st.one_of(st.integers(200, 500), st.integers(200, 500), st.none()),
        "done": st.sampled_from([True, True, False, None]),
        "due_to": st.one_of(_INSTANTS, _INSTANTS, _INSTANTS, st.none()),
    }
)


def funnel(changes: Iterable[Row], activities: Iterable[Row]) -> Counter[tuple]:
    """The rows of the report for Pipedrive."""
    first: dict[tuple[object, str], datetime] = {}
    for change in changes:
        text = str(change["new_value"]).strip().removesuffix(".0")
        if change["changed_field_key"] == "stage_id" and text in NAMES:
            entry = (change["deal_id"], text)
            first[entry] = min(change["change_time"], first.get(entry, change["change_time"]))
    counted = {(deal, step, month_of(time)) for (deal, step), time in first.items()}
    for activity in activities:
        known = activity["deal_id"] is not None and activity["due_to"] is not None
        if known and activity["done"] and activity["type"] in CALLS:
            counted.add((activity["deal_id"], CALLS[activity["type"]], month_of(activity["due_to"])))
    counts = Counter((month, step) for _, step, month in counted)
    return Counter(
        (month, NAMES[step], Decimal(step), count, "pipedrive") for (month, step), count in counts.items()
    )


def month_of(instant: datetime):
    return instant.date().replace(day=1)


def csv_of(rows: Iterable[Row]) -> bytes:
    """Rows as a file of the export has them."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    for row in rows:
        times = {name: f"{v:%Y-%m-%d %H:%M:%S}" for name, v in row.items() if isinstance(v, datetime)}
        writer.writerow(row | times)
    return text.getvalue().encode()


def export_to(home: Home, table: str, day: int, rows: Iterable[Row]) -> None:
    """Land a file with these rows, as it was exported on a day of January 2026, in that day's partition."""
    raw_table, window = PIPEDRIVE[table], CALENDAR.window(partition(day))
    found = extract(raw_table, csv_of(rows), at(day), "", "a test's file")
    landing = home.lake.land_export(raw_table, window, [found.rows], window.end, ExportInfo(found.exported_at))
    assert not landing.quarantined, landing


def reported(home: Home, source: str = "pipedrive") -> Counter[tuple]:
    return Counter(home.rows(f"select * from gtm_mart.rep_sales_funnel_monthly where source_system = '{source}'"))


def pipedrive_models(*names: str) -> list[str]:
    """The models on Pipedrive's way to the given ones."""
    return [name for name in with_ancestors(*names) if "pipedrive" in name] + list(names)


@pytest.fixture(scope="module")
def export() -> tuple[list[Row], list[Row]]:
    """Changes and activities as two files have them, some rows twice."""
    changes = examples(_CHANGES, 2_500, "pipedrive changes")
    activities = examples(_ACTIVITIES, 1_200, "pipedrive activities")
    return changes + changes[:50], activities


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Home:
    """Nothing but seeds and stages; the funnel and all below it is built."""
    home = Home(tmp_path_factory.mktemp("pipedrive") / "gtm").seed()
    empty_tables(home, *TABLES, *PIPEDRIVE)
    home.build(*with_ancestors("rep_sales_funnel_monthly"))
    return home


def test_the_funnel_is_what_plain_python_counts_in_whatever_pieces_the_rows_come(empty, export):
    changes, activities = export
    expected = funnel(changes, activities)
    assert {row[1] for row in expected} == set(NAMES.values())
    assert {row[3] for row in expected} >= {1, 2, 3}
    draw = random.Random(6)
    files = {CHANGES: changes, ACTIVITIES: activities}
    pieces: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for table, rows in files.items():
        for row in draw.sample(rows, len(rows)):
            pieces[day_of(row), table].append(row)
    order = draw.sample(sorted(pieces), len(pieces))
    models = pipedrive_models("int_opportunity_funnel_steps", "rep_sales_funnel_monthly")

    landed: dict[str, list[Row]] = {CHANGES: [], ACTIVITIES: []}
    for number, (day, table) in enumerate(order):
        export_to(empty, table, day, pieces[day, table])
        landed[table] += pieces[day, table]
        if number in (5, len(order) - 1):
            empty.build(*models)
            assert reported(empty) == funnel(landed[CHANGES], landed[ACTIVITIES])
    assert reported(empty) == expected

    for table, rows in files.items():
        export_to(empty, table, 10, draw.sample(rows, len(rows)))
    empty.build(*models)
    assert reported(empty) == expected
    empty.build(*models, full_refresh=True)
    assert reported(empty) == expected


def day_of(row: Row) -> int:
    """The day on which a row is exported. Rows that only their order tells apart come together."""
    told = {name: row[name] for name in ("activity_id", "deal_id", "type") if name in row}
    return zlib.crc32(repr(told if "activity_id" in told else row).encode()) % 9 + 1


# -- core -------------------------------------------------------------------------------------------------------

CORE = ("dim_account", "dim_contact", "dim_user", "fct_opportunity", "fct_activity", "rep_sales_funnel_monthly")


def changes_of(deal: int, **fields: str) -> list[Row]:
    """A deal's changes, all on one day of 2025; add_time first."""
    begun = datetime(2025, 6, 1, tzinfo=UTC) + timedelta(days=deal)
    return [
        {"deal_id": deal, "change_time": begun + timedelta(hours=n), "changed_field_key": key, "new_value": value}
        for n, (key, value) in enumerate({"add_time": f"{begun:%Y-%m-%d}", **fields}.items())
    ]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Home:
    """Salesforce's and Pipedrive's records of some of the same people, core built of them."""
    home = Home(tmp_path_factory.mktemp("both") / "gtm").seed()
    empty_tables(home, *TABLES)
    home.land(
        "user", partition(2), user(1, at(2), email="Ann@team.example"), user(2, at(2), email="bob@team.example")
    )
    home.land("account", partition(2), account(1, at(2), name="Acme Incorporated", website="https://www.acme.com"))
    home.land("contact", partition(2), contact(1, at(2), account_id=account(1, at(2))["id"], email="cy@acme.com"))
    people = [(7, "Ann", "ann@team.example "), (8, "Dee", "dee@team.example")]
    users = [{"id": n, "name": name, "email": email, "modified": at(1)} for n, name, email in people]
    stages = [{"stage_id": number, "stage_name": name} for number, name in STAGE.items()]
    options = '[{"id": 1, "label": "Price"}, {"id": 2, "label": "Timing"}]'
    fields = [{"ID": 1, "FIELD_KEY": "lost_reason", "NAME": "Lost reason", "FIELD_VALUE_OPTIONS": options}]
    acme = {"org_name": "ACME, Inc.", "person_name": "Cy Fox", "person_email": "cy@acme.com"}
    changes = [
        *changes_of(1, user_id="7", stage_id="1", **acme),
        *changes_of(2, user_id="8", stage_id="7", org_name="Birch GmbH", person_email="eve@birch.com"),
        *changes_of(3, user_id="99", stage_id="2", lost_reason="2", org_name="birch"),
    ]
    due = datetime(2025, 7, 1, 5, tzinfo=UTC)
    activity = {
        "activity_id": 5,
        "type": "meeting",
        "assigned_to_user": 7,
        "deal_id": 1,
        "done": True,
        "due_to": due,
    }
    export_to(home, "pipedrive.users", 2, users)
    export_to(home, "pipedrive.stages", 2, stages)
    export_to(home, "pipedrive.fields", 2, fields)
    export_to(home, CHANGES, 2, changes)
    export_to(home, ACTIVITIES, 2, [activity, activity | {"deal_id": 4, "done": False, "type": "golf"}])
    home.build(*with_ancestors(*CORE))
    return home


def test_a_person_or_company_of_both_sources_is_one_row_with_both_ids(both):
    ids = {kind: home_id(both, kind) for kind in ("account", "contact", "user")}

    assert ids["user"] == [
        ("Dee", True, True, "pipedrive"),
        ("User 1", False, True, "salesforce"),
        ("User 2", False, False, "salesforce"),
    ]
    assert ids["account"] == [
        ("Acme Incorporated", False, True, "salesforce"),
        ("Birch GmbH", True, True, "pipedrive"),
    ]
    assert ids["contact"] == [(None, True, True, "pipedrive"), ("Contact 1", False, True, "salesforce")]
    assert both.rows("select match_rule, confidence from gtm_intermediate.int_account__pipedrive order by 1") == [
        ("domain and name", Decimal("1.00")),
        ("none", Decimal("0.00")),
    ]
    assert both.rows("select match_rule from gtm_intermediate.int_contact__pipedrive order by 1") == [
        ("email and account",),
        ("none",),
    ]


def home_id(home: Home, kind: str) -> list[tuple]:
    """Each row's name, whether its id is Pipedrive's, whether it has one of Pipedrive's, and its source."""
    return home.rows(
        f"select {kind}_name, {kind}_id like 'pipedrive-%', pipedrive_{kind}_id is not null, source_system"
        f" from gtm_core.dim_{kind} where {kind}_id <> 'unknown' order by 1 nulls first"
    )


def test_pipedrives_deals_and_activities_point_to_the_people_and_companies_of_both(both):
    deals = both.rows("""
        select d.opportunity_id, u.user_name, a.account_name, c.email, d.opportunity_status, d.stage_name,
            d.loss_reason, d.created_date, d.close_date, d.days_to_close, d.amount, d.is_open_pipeline
        from gtm_core.fct_opportunity as d
        left join gtm_core.dim_user as u on d.owner_user_key = u.user_key
        left join gtm_core.dim_account_scd2 as a on d.account_key = a.account_key
        left join gtm_core.dim_contact as c on d.contact_key = c.contact_key
        order by 1
    """)
    first, second, third = (date(2025, 6, 1 + n) for n in (0, 1, 2))
    acme, birch = ("Acme Incorporated", "cy@acme.com"), ("Birch GmbH", "eve@birch.com")
    assert deals == [
        ("pipedrive-1", "User 1", *acme, "Open", STAGE[1], None, first, None, None, None, False),
        ("pipedrive-2", "Dee", *birch, "Won", STAGE[7], None, second, second, 0, None, False),
        ("pipedrive-3", "Unknown", birch[0], None, "Lost", STAGE[2], "Timing", third, third, 0, None, False),
    ]
    activities = both.rows("""
        select a.opportunity_id, u.user_name, d.account_name, a.activity_type, a.is_counted, a.activity_date
        from gtm_core.fct_activity as a
        left join gtm_core.dim_user as u on a.owner_user_key = u.user_key
        left join gtm_core.dim_account_scd2 as d on a.account_key = d.account_key
        order by 1
    """)
    due = date(2025, 6, 30)
    assert activities == [
        ("pipedrive-1", "User 1", "Acme Incorporated", "Meeting", True, due),
        ("pipedrive-4", "User 1", "Unknown", "To-do", False, due),
    ]


# -- reconciliation ---------------------------------------------------------------------------------------------


@pytest.fixture
def warehouse(both, tmp_path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the warehouse that a test may spoil."""
    with connect(copied_warehouse(both.path, tmp_path), read_only=False) as connection:
        yield connection


def findings(warehouse: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], Finding]:
    """What reconciliation finds, by table and source, of the tables that are built here."""
    raw = {"salesforce": TABLES, "pipedrive": {table.name: table for table in PIPEDRIVE.values()}}
    found = {}
    for rule in SOURCE_RECONCILIATIONS:
        if rule.core in (*CORE, "fct_task"):
            table, newest = raw[rule.source][rule.raw], reconciliation.newest_in_lake
            found[rule.core, rule.source] = reconciliation.reconcile_with_source(
                warehouse, rule, table, newest, "America/Los_Angeles", 0.0
            )
    funnel = next(rule for rule in REPORT_RECONCILIATIONS if rule.report == "rep_sales_funnel_monthly")
    return found | {
        ("rep_sales_funnel_monthly", "all"): reconciliation.reconcile_with_core(warehouse, funnel, 0.0)
    }


def test_both_sources_reconcile(warehouse):
    found = findings(warehouse)

    assert [finding.sentence for finding in found.values() if not finding.passed] == []
    records = {key: finding.figures["records"] for key, finding in found.items() if "records" in finding.figures}
    assert records == {
        ("dim_user", "salesforce"): 2,
        ("dim_user", "pipedrive"): 2,
        ("dim_account", "salesforce"): 1,
        ("dim_contact", "salesforce"): 1,
        ("fct_opportunity", "salesforce"): 0,
        ("fct_opportunity", "pipedrive"): 3,
        ("fct_task", "salesforce"): 0,
        ("fct_activity", "pipedrive"): 2,
    }
    assert found["rep_sales_funnel_monthly", "all"].figures["deals_count"] == 4


@pytest.mark.parametrize(
    ("table", "source", "plant"),
    [
        ("dim_user", "pipedrive", "delete from gtm_core.dim_user where user_name = 'Dee'"),
        (
            "dim_user",
            "pipedrive",
            "update gtm_core.dim_user set pipedrive_user_id = null where user_name = 'User 1'",
        ),
        ("fct_opportunity", "pipedrive", "delete from gtm_core.fct_opportunity where is_won"),
        ("fct_opportunity", "pipedrive", "update gtm_core.fct_opportunity set created_date = '2026-01-01'"),
        ("fct_activity", "pipedrive", "update gtm_core.fct_activity set is_completed = true"),
        ("fct_activity", "pipedrive", "insert into gtm_core.fct_activity from gtm_core.fct_activity"),
        ("rep_sales_funnel_monthly", "all", "update gtm_mart.rep_sales_funnel_monthly set deals_count = 2"),
        (
            "rep_sales_funnel_monthly",
            "all",
            "delete from gtm_mart.rep_sales_funnel_monthly where funnel_step = 2.1",
        ),
    ],
)
def test_a_row_of_pipedrive_that_core_loses_or_changes_is_found(warehouse, table, source, plant):
    warehouse.execute(plant)

    assert {key for key, finding in findings(warehouse).items() if not finding.passed} == {(table, source)}


def test_a_company_that_salesforce_gets_later_leaves_pipedrives_row(both):
    assert both.rows("select count(*) from gtm_core.dim_account_scd2 where account_name = 'Birch GmbH'") == [(1,)]
    both.land("account", partition(3), account(2, at(3), name="Birch", website="birch.com"))
    models = with_ancestors(*CORE)

    both.build(*models)

    assert both.rows("select count(*) from gtm_core.dim_account_scd2 where account_name = 'Birch GmbH'") == [(0,)]
    owners = "select account_name from gtm_core.fct_opportunity join gtm_core.dim_account_scd2 using (account_key)"
    assert both.rows(f"{owners} where opportunity_id = 'pipedrive-2'") == [("Birch",)]
    built = both.tables("dim_account_scd2", *CORE)
    both.build(*models, full_refresh=True)
    assert both.tables("dim_account_scd2", *CORE) == built
