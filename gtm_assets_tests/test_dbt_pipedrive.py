"""Pipedrive's way from its raw tables to the funnel: the numbers are those that plain Python counts."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import strategies as st

from gtm_assets_tests.change_logs import examples
from gtm_assets_tests.dbt_harness import TABLES, Home, at, empty_tables, partition, with_ancestors

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


def as_changes(rows: Iterable[Row]) -> list[Row]:
    """Rows of the file as records: the id is the content."""
    return [{"id": repr(sorted(row.items())), **row, "_fivetran_deleted": False} for row in rows]


def as_activities(rows: Iterable[Row], exported_at: datetime) -> list[Row]:
    """Rows of the file as records: the id is activity, deal, type and a number among those that share them."""
    shared: Counter[tuple] = Counter()
    records = []
    for row in rows:
        key = (row["activity_id"], row["deal_id"], row["type"])
        shared[key] += 1
        records.append(
            {"id": repr((*key, shared[key])), **row, "exported_at": exported_at, "_fivetran_deleted": False}
        )
    return records


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
    empty_tables(home, *TABLES)
    home.build(*with_ancestors("rep_sales_funnel_monthly"))
    return home


def test_the_funnel_is_what_plain_python_counts_in_whatever_pieces_the_rows_come(empty, export):
    changes, activities = export
    expected = funnel(changes, activities)
    assert {row[1] for row in expected} == set(NAMES.values())
    assert {row[3] for row in expected} >= {1, 2, 3}
    draw = random.Random(6)
    records = {CHANGES: as_changes(changes), ACTIVITIES: as_activities(activities, at(1))}
    pieces: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for table, rows in records.items():
        for row in draw.sample(rows, len(rows)):
            pieces[draw.randint(1, 9), table].append(row)
    order = draw.sample(sorted(pieces), len(pieces))
    models = pipedrive_models("int_deal_funnel_steps", "rep_sales_funnel_monthly")

    landed: dict[str, list[Row]] = {CHANGES: [], ACTIVITIES: []}
    for number, (day, table) in enumerate(order):
        piece = pieces[day, table]
        empty.land(table, partition(day), *piece)
        landed[table] += piece
        if number in (5, len(order) - 1):
            empty.build(*models)
            assert reported(empty) == funnel(landed[CHANGES], landed[ACTIVITIES])
    assert reported(empty) == expected

    for table, rows in records.items():
        empty.land(table, partition(10), *draw.sample(rows, len(rows)))
    empty.build(*models)
    assert reported(empty) == expected
    empty.build(*models, full_refresh=True)
    assert reported(empty) == expected
