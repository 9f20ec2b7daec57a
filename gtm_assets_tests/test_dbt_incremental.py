"""Incremental equals full refresh for every incremental model, after random sequences of landings and builds.

Each day some tables land their partition, some an earlier one late or again, and some models are built. What the
tables were on a day is what a build as of that day gives, whatever has come since.
"""

from __future__ import annotations

import itertools
import random
import statistics
from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from hypothesis import strategies as st

from gtm_assets.partitions import boundary
from gtm_assets_tests.change_logs import ALL_TABLES, ChangeLog, assert_equal, examples, id_of
from gtm_assets_tests.dbt_harness import (
    CALENDAR,
    CREATED,
    TABLES,
    Home,
    account,
    at,
    contact,
    empty_tables,
    incremental_models,
    parsed,
    partition,
    task,
    user,
    with_ancestors,
)

pytestmark = pytest.mark.slow

FIRST_DAY, LAST_DAY = 6, 30
"""The days of January on which the sequence lands and builds. The partitions before them come late, or never."""
WEEKS_LATER = "2026-03-05"
"""The partition that lets the month be merged."""
REFERENCES = ("account", "user", "contact", "task")
ACTIVITIES = {
    "task": ("owner_id", "account_id", "who_id", {"is_closed": True, "completed_date_time": at(4)}),
    "event": ("owner_id", "account_id", "who_id", {"start_date_time": at(4)}),
    "email_message": ("created_by_id", "related_to_id", None, {"message_date": at(4)}),
}
"""By raw table: its references to owner, account and contact, and what says when an activity was."""
MORE = ("fct_opportunity_stage_history", "fct_pipeline_snapshot")
"""Tables built anew each time, on which the days' reports stand."""


@dataclass(frozen=True)
class Day:
    """What happens on a day: tables, how late their partition is, how many records it holds; models built."""

    landings: list[tuple[str, int, int]]
    build: list[str]
    early: float | None
    """So many hours after the day's beginning its first table is landed, while it is open, and one model built."""


def days() -> st.SearchStrategy[Day]:
    children = [name for name in incremental_models() if not name.startswith("base_")]
    # Tables with a model among these are drawn more often.
    landing = st.tuples(
        st.sampled_from([*ALL_TABLES, *[table for table in ALL_TABLES if is_read(table, children)] * 8]),
        st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 4]),
        st.integers(0, 8),
    )
    models = st.lists(st.sampled_from([*incremental_models(), *children * 2]), min_size=2, max_size=5, unique=True)
    early = st.sampled_from([None, None, 2, 4, 9])
    return st.builds(Day, st.lists(landing, min_size=4, max_size=10), models, early)


late = st.tuples(st.integers(FIRST_DAY, LAST_DAY), st.integers(1, 6))
"""A partition that is landed again, and how many records it holds."""


def is_read(table: str, models: list[str]) -> bool:
    """Whether a model reads a raw table, its base or its staging view; Pipedrive's by what feeds core."""
    raw, nodes = ALL_TABLES[table], parsed().nodes
    sought = {f"source.gtm_dbt.{raw.qualified_name}"}
    sought |= {f"model.gtm_dbt.{layer}_{raw.source}__{raw.name}" for layer in ("base", "stg")}
    parents = {id_ for model in models for id_ in nodes[f"model.gtm_dbt.{model}"].depends_on.nodes}
    feeding = [id_ for id_ in parents if id_.endswith("__pipedrive")]
    return bool(sought & parents.union(*(nodes[id_].depends_on.nodes for id_ in feeding)))


@pytest.mark.parametrize(
    ("whole_builds", "most_unchanged"),
    [
        pytest.param((13,), 8, id="8_days"),
        pytest.param((13, 21, LAST_DAY), 0, id="25_days", marks=pytest.mark.nightly),
    ],
)
def test_incremental_equals_full_refresh_and_as_of_a_day_equals_that_day(tmp_path, whole_builds, most_unchanged):
    """On the days of ``whole_builds`` all models are built and their tables kept; the last of them ends the month.

    The shorter sequence is how the longer one begins; so many tables may be the same at all its instants.
    """
    home = Home(tmp_path / "gtm").seed()
    log = ChangeLog(home, "a month")
    compared = [*incremental_models(), *MORE]
    models = with_ancestors(*compared)
    for table in ALL_TABLES:
        log.land(table, FIRST_DAY - 1, log.draw(table, FIRST_DAY - 1, 6))
    log.build(*models, note="all")

    builds, then, turns = 0, {}, itertools.cycle(ALL_TABLES)
    month = range(FIRST_DAY, whole_builds[-1] + 1)
    for day, plan in zip(month, examples(days(), len(month), "days"), strict=True):
        known_at = boundary(date(2026, 1, day + 1))
        for number, (table, days_late, count) in enumerate(plan.landings):
            # Each day lands its own partition of some table, which makes it the last day.
            landed = day - (days_late if number else 0)
            records = log.draw(table, landed, count)
            if plan.early and not number:
                log.land(table, landed, records, at(day, plan.early), until=at(day, plan.early))
                log.build(plan.build[0], note=f"{plan.build[0]} early")
            log.land(table, landed, records, known_at)
        # And two tables by turns, so that none is left out.
        for _ in range(2):
            table = next(turns)
            log.land(table, day, log.draw(table, day, 3), known_at)
        log.build(*plan.build)
        builds += 1
        if day in whole_builds:
            log.build(*models, note="all")
            builds += 1
            then[known_at] = home.tables(*compared)
    assert builds == len(month) + len(whole_builds)

    full = home.twin("full").seed()
    full.build(*models)
    assert_equal(log, home, full.tables(*compared))

    # Weeks later the month lies in one file a table; some of its partitions come once more.
    known_at = CALENDAR.window(WEEKS_LATER).end
    assert merge_the_month(home) > 4 * len(TABLES) * len(month) / 25
    for table, (day, count) in zip(ALL_TABLES, examples(late, len(ALL_TABLES), "late"), strict=True):
        log.land(table, day, log.draw(table, day, count), known_at)
    log.build(*models, note="all")
    full.build(*models, full_refresh=True)
    assert_equal(log, home, full.tables(*compared))
    for instant, tables in then.items():
        built = home.twin(f"as-of-{instant:%d}").seed()
        built.build(*models, variables={"as_of": str(instant)})
        assert_equal(log, built, tables)
    then[known_at] = home.tables(*compared)
    assert all(all(tables.values()) for tables in then.values())
    # A comparison proves something where a table differs from one of these days to another.
    states = {model: {frozenset(tables[model].items()) for tables in then.values()} for model in compared}
    unchanged = [model for model in compared if len(states[model]) == 1]
    assert len(unchanged) <= most_unchanged, unchanged
    assert statistics.mean(len(states[model]) for model in compared) > 0.75 * len(then)


def merge_the_month(home: Home) -> int:
    """Merge the batches of January, as ``gtm lake compact`` does once a later partition has landed.

    Returns how many there were.
    """
    merged = 0
    for name, table in TABLES.items():
        home.land(name, WEEKS_LATER)
        merged += home.lake.compact(table).batches
        home.lake.remove_replaced(table)
    assert home.dbt("run-operation", "follow_compaction").success
    return merged


def test_partitions_shuffled_repeated_and_landed_early_give_equal_tables_in_every_incremental_model(tmp_path):
    chance = random.Random(0)
    models = incremental_models()
    in_order, shuffled = (ChangeLog(Home(tmp_path / name).seed(), "order") for name in ("in-order", "shuffled"))
    landings = [(table, day, in_order.draw(table, day, 10)) for day in range(2, 8) for table in TABLES]
    for landing in landings:
        in_order.land(*landing)
    in_order.build(*with_ancestors(*models))

    early = chance.sample(landings, len(landings) // 2)
    for table, day, records in early:
        # Once or twice, while the partition is open.
        for hours in chance.choice([(2,), (4,), (2, 4)]):
            shuffled.land(table, day, records, until=at(day, hours))
    landings += chance.sample(landings, len(landings) // 3)
    chance.shuffle(landings)
    half = len(landings) // 2
    for some in (landings[:half], landings[half:]):
        for landing in some:
            shuffled.land(*landing)
        shuffled.build(*with_ancestors(*models))

    assert_equal(shuffled, shuffled.home, in_order.home.tables(*models))


@pytest.mark.parametrize(
    "table",
    ["task", *(pytest.param(table, marks=pytest.mark.nightly) for table in ACTIVITIES if table != "task")],
)
def test_an_activity_follows_its_owner_account_and_contact_when_they_come_change_and_go(tmp_path, table):
    home = Home(tmp_path / "gtm")
    empty_tables(home, "account", "user", "contact", table)
    owner, account_, contact_, happened = ACTIVITIES[table]
    activity = {"created_date": CREATED, "system_modstamp": at(2), "is_deleted": False}
    activity |= {owner: id_of("user", 1), account_: id_of("account", 1)}
    activity |= {contact_: id_of("contact", 1)} if contact_ else {}
    open_, over = ({"id": id_of(table, number), **activity} for number in (1, 2))
    home.land(table, partition(2), open_, over | happened)
    fact = f"fct_{table}"
    home.build(f"+{fact}")
    seen = [keys(home, fact)]

    home.land("user", partition(3), user(1, at(3)))
    home.land("contact", partition(3), contact(1, at(3)))
    home.land("account", partition(3), account(1, at(3)))
    home.build(f"+{fact}")
    seen.append(keys(home, fact))

    home.land("account", partition(5), account(1, at(5), industry="new"))
    home.build(f"+{fact}")
    seen.append(keys(home, fact))
    home.land("user", partition(6), user(1, at(6), _fivetran_deleted=True))
    home.build(f"+{fact}")
    seen.append(keys(home, fact))

    first, second = home.rows(
        "select account_key from gtm_core.dim_account_scd2 where account_id <> 'unknown' order by valid_from"
    )
    user_key, _, *contact_key = seen[1][1]
    unknown = ("unknown",) * len(seen[1][1])
    assert seen[0] == {1: unknown, 2: unknown}
    assert seen[1] == {1: (user_key, first[0], *contact_key), 2: (user_key, first[0], *contact_key)}
    # What has no time is with the account as it is now, what has one with the account as it was then.
    assert seen[2] == {1: (user_key, second[0], *contact_key), 2: (user_key, first[0], *contact_key)}
    assert seen[3] == {1: ("unknown", second[0], *contact_key), 2: ("unknown", first[0], *contact_key)}
    assert "unknown" not in seen[1][1]


def test_a_late_batch_that_makes_an_older_version_the_newest_reaches_the_fact(tmp_path):
    """Of two versions with one cursor the later partition's wins, until it turns out to have come first."""
    home = Home(tmp_path / "gtm")
    empty_tables(home, *REFERENCES)
    # Late: known partitions hold it back from being landed twice, so each lands before the earlier ones.
    for day, subject in ((5, "first"), (4, "second"), (3, "first")):
        home.land("task", partition(day), task(1, at(2), subject=subject, priority=subject))
        home.build("+fct_task")

    assert home.rows("select subject from gtm_staging.stg_salesforce__task") == [("second",)]
    assert home.rows("select priority from gtm_core.fct_task") == [("second",)]


def test_a_deleted_task_leaves_the_fact_and_comes_back(tmp_path):
    home = Home(tmp_path / "gtm")
    empty_tables(home, *REFERENCES)
    home.land("task", partition(2), task(1, at(2)), task(2, at(2)))
    home.build("+fct_task")
    home.land("task", partition(3), task(1, at(3), is_deleted=True))
    home.build("+fct_task")
    assert set(keys(home, "fct_task")) == {2}

    home.land("task", partition(4), task(1, at(3) + timedelta(days=1)))
    home.build("+fct_task")
    assert set(keys(home, "fct_task")) == {1, 2}


def keys(home: Home, fact: str) -> dict[int, tuple[str, ...]]:
    """An activity's keys of its owner, its account and, but for an email, its contact, by its number."""
    columns = ["owner_user_key", "account_key", *(["contact_key"] if fact != "fct_email_message" else [])]
    rows = home.rows(f"select {fact.removeprefix('fct_')}_id, {', '.join(columns)} from gtm_core.{fact}")
    return {int(id_[3:]): tuple(found) for id_, *found in rows}
