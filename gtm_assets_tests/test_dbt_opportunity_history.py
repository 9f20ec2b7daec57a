"""Deals over time: no day is lost of a deal that did not change."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import duckdb

from gtm_assets_tests.dbt_harness import CREATED, TABLES, Home, at, empty_tables, opportunity, partition
from gtm_assets_tests.test_dbt_history import first_sightings

LANDED = ["opportunity", "user", "opportunity_field_history", "opportunity_stage"]
VIEWS = [
    *(f"stg_salesforce__{table}" for table in LANDED),
    "int_opportunity_field_changes",
    "int_currency_rates",
    "int_opportunity_days",
]
INCREMENTAL = ["int_opportunity_versions", "fct_opportunity_history", "fct_opportunity_field_history"]
MODELS = [
    *(f"base_salesforce__{table}" for table in LANDED),
    "int_opportunity_stages",
    *INCREMENTAL,
    "fct_pipeline_snapshot",
]
STATES = [
    {"stage_name": "A", "forecast_category": "Pipeline", "is_closed": False, "is_won": False},
    {"stage_name": "B", "forecast_category": "Omitted", "is_closed": False, "is_won": False},
    {"stage_name": "Won", "forecast_category": "Closed", "is_closed": True, "is_won": True},
    {"stage_name": "Lost", "forecast_category": "Omitted", "is_closed": True, "is_won": False},
]


def change(number: int, made: datetime, **values: object) -> dict[str, object]:
    """A row of field history: a change of a deal's stage."""
    return {
        "id": f"017{number:015d}",
        "opportunity_id": opportunity(1, made)["id"],
        "field": "StageName",
        "created_date": made,
        "is_deleted": False,
    } | values


def test_a_deal_that_does_not_change_has_each_day_until_it_closes(tmp_path):
    home = Home(tmp_path / "gtm").seed()
    empty_tables(home, *LANDED)
    home.land("opportunity", partition(2), opportunity(1, at(2)), opportunity(2, at(2)))
    home.build(*MODELS, *VIEWS)
    # Days pass on which other deals change, and one on which nothing was found.
    for day in (3, 4, 6):
        home.land("opportunity", partition(day), *([opportunity(3, at(day))] if day != 6 else []))
    home.build(*MODELS)
    home.land("opportunity", partition(7), opportunity(1, at(7), **STATES[2]))
    home.build(*MODELS)

    days = home.rows(
        "select right(opportunity_id, 1), min(date_day), max(date_day), count(*), sum(cast(is_closed as integer))"
        " from gtm_core.fct_opportunity_history where is_observed group by 1 order by 1"
    )
    # First seen in the partition of the 2nd: the history begins at its boundary, on the evening of the 3rd.
    first, last = date(2026, 1, 3), date(2026, 1, 8)
    # The third deal was there before, and first seen a day later.
    assert days == [("1", first, last, 6, 1), ("2", first, last, 6, 0), ("3", date(2026, 1, 4), last, 5, 0)]
    rebuilt = "select distinct date_day from gtm_core.fct_opportunity_history where not is_observed order by 1"
    assert home.rows(rebuilt) == [(CREATED.date() + timedelta(days=number - 1),) for number in range(35)]


def test_a_day_loses_what_a_late_version_takes_from_it(tmp_path):
    home = Home(tmp_path / "gtm").seed()
    empty_tables(home, *LANDED)
    home.land("opportunity", partition(2), opportunity(1, at(2)))
    home.land("opportunity", partition(9), opportunity(2, at(9)))
    home.build(*MODELS, *VIEWS)
    late = opportunity(1, at(5), **STATES[3])
    home.land("opportunity", partition(5), late)
    home.build(*MODELS)

    rows = home.rows(
        "select max(date_day), count(*) from gtm_core.fct_opportunity_history"
        " where opportunity_id like '%1' and is_observed"
    )
    assert rows == [(date(2026, 1, 6), 4)]


def test_stages_that_disagree_are_told_for_each_boundary(tmp_path):
    home = Home(tmp_path / "gtm").seed()
    models = ["fct_opportunity_stage_history", "stages_agree_at_each_boundary"]
    made, created = at(3), datetime(2026, 1, 2, 20, tzinfo=UTC)
    for day, stage in ((2, "A"), (3, "B")):
        home.land("opportunity", partition(day), deal(at(day), stage, created))
    home.land(
        "opportunity_field_history",
        partition(3),
        change(1, created, field="created"),
        change(2, made, old_value="A", new_value="B"),
    )
    home.build("+fct_opportunity_stage_history")
    assert not warned(home, models[1])

    # A version that says X at a boundary where field history knows no change.
    home.land("opportunity", partition(4), deal(at(4), "X", created))
    home.land("opportunity", partition(5), deal(at(5), "C", created))
    home.land("opportunity_field_history", partition(5), change(3, at(5), old_value="B", new_value="C"))
    home.build("+fct_opportunity_stage_history")

    assert home.rows("select stage_name from gtm_core.fct_opportunity_stage_history order by interval_number") == [
        ("A",),
        ("B",),
        ("C",),
    ]
    assert warned(home, models[1])


def test_stage_intervals_follow_the_rule_for_versions_of_one_time_as_every_history_does(tmp_path):
    """Versions of few instants, of which many tie, delete marks among them, and no field history."""
    chance, raw = random.Random(0), TABLES["opportunity"]
    log: dict[int, list[dict[str, object]]] = {day: [] for day in range(2, 9)}
    for number in range(200):
        for _ in range(chance.randint(2, 8)):
            day = chance.choice([2, 3, 4])
            mark = chance.choice([False, False, True])
            version = opportunity(number, at(day), stage_name=chance.choice("ABC"), is_deleted=mark)
            log[chance.choice([day, day + 1, day + 3])].append(version)
        log[8].append(opportunity(number, at(8), stage_name="Z"))
    home = Home(tmp_path / "gtm").seed()
    empty_tables(home, *LANDED)
    for day, records in log.items():
        home.land("opportunity", partition(day), *records)
    home.build("+fct_opportunity_stage_history")

    expected = {}
    for id_, found in first_sightings(raw, log).items():
        newest = sorted(found, key=lambda v: (v["_partition_key"], bool(v["is_deleted"]), v["_version_hash"]))
        at_one_time = {version["system_modstamp"]: version for version in newest}
        seen = [(v["stage_name"], t) for t, v in sorted(at_one_time.items()) if not v["is_deleted"]]
        intervals = [
            entry for entry, (before, _) in zip(seen, [("", None), *seen], strict=False) if entry[0] != before
        ]
        expected[id_] = [(intervals[0][0], CREATED), *intervals[1:]]
    built = defaultdict(list)
    for id_, *stay in home.rows(
        "select opportunity_id, stage_name, entered_at from gtm_core.fct_opportunity_stage_history"
        " order by opportunity_id, interval_number"
    ):
        built[id_].append(tuple(stay))

    wrong = [id_ for id_ in expected if built[id_] != expected[id_]]
    assert not wrong, f"{len(wrong)} of {len(expected)} deals: {built[wrong[0]]}, expected {expected[wrong[0]]}"


def test_days_are_rebuilt_as_they_would_have_been_observed(tmp_path):
    """One home lands each day. The other begins a week later, with field history and the deals as they are."""
    chance = random.Random(0)
    versions, changes = deals_with_their_history(chance, count=80, days=range(2, 12))
    observed, rebuilt = (Home(tmp_path / name).seed() for name in ("observed", "rebuilt"))
    first = 8
    for home, begins in ((observed, 2), (rebuilt, first)):
        home.land("opportunity_stage", partition(begins), *stages())
        empty_tables(home, "user")
        for day in range(begins, 12):
            days = range(2, begins + 1) if day == begins else [day]
            newest = {version["id"]: version for part in days for version in versions[part]}
            home.land("opportunity", partition(day), *newest.values())
            home.land(
                "opportunity_field_history", partition(day), *(row for part in days for row in changes[part])
            )
            if day in (first, 9, 11):
                home.build(*MODELS, *VIEWS)

    columns = (
        "opportunity_id, date_day, stage_name, forecast_category, probability, amount, close_date, owner_user_id,"
        " is_closed, is_won, is_open_pipeline, weighted_amount"
    )
    query = f"select {columns} from gtm_core.fct_opportunity_history order by all"
    assert rebuilt.rows(query) == observed.rows(query)
    counted = "select count(*) filter (not is_observed), count(*) filter (is_closed and not is_observed)"
    ((days, closings),) = rebuilt.rows(f"{counted} from gtm_core.fct_opportunity_history")
    assert days > 100 and closings > 10
    assert not findings(rebuilt)
    assert not findings(observed)


def test_days_are_rebuilt_once_and_again_when_the_history_below_them_comes(tmp_path):
    home = Home(tmp_path / "gtm").seed()
    home.land("opportunity_stage", partition(1), *stages())
    empty_tables(home, *LANDED)
    deals = [opportunity(number, at(4), created_date=at(2), **STATES[0]) for number in (1, 2)]
    home.land("opportunity", partition(4), *deals)
    home.build(*MODELS, *VIEWS)
    amounts = (
        "select date_day, cast(amount as integer) from gtm_core.fct_opportunity_history"
        " where opportunity_id like '%1' and not is_observed order by 1"
    )
    assert home.rows(amounts) == [(date(2026, 1, 3), 100), (date(2026, 1, 4), 100)]

    # A build that wrote these days again would not keep what is planted here.
    with duckdb.connect(home.path / "warehouse.duckdb") as connection:
        connection.execute("update gtm_core.fct_opportunity_history set amount = 7 where not is_observed")
    home.land("opportunity", partition(5), deals[1] | {"amount": 5, "system_modstamp": at(5)})
    home.build(*MODELS)
    assert home.rows(amounts) == [(date(2026, 1, 3), 7), (date(2026, 1, 4), 7)]

    changed = change(1, at(3), opportunity_id=deals[0]["id"], field="Amount", old_value="60", new_value="100")
    home.land("opportunity_field_history", partition(3), changed)
    home.build(*MODELS)
    assert home.rows(amounts) == [(date(2026, 1, 3), 60), (date(2026, 1, 4), 100)]


def test_columns_that_field_history_does_not_know_are_counted_and_named(tmp_path):
    home = Home(tmp_path / "gtm").seed()
    empty_tables(home, *LANDED)
    for number in (1, 2, 3):
        home.land("opportunity", partition(2 + number), opportunity(number, at(2 + number)))
    home.build(*MODELS, *VIEWS)
    assert not findings(home)

    # Two amounts change unseen by field history. Of the third deal's stage it tells another than the version.
    later = [opportunity(number, at(6), amount=5) for number in (1, 2)]
    home.land("opportunity", partition(6), *later, opportunity(3, at(6), stage_name="B"))
    told = change(1, at(6), opportunity_id=opportunity(3, at(6))["id"], old_value="Prospecting", new_value="C")
    home.land("opportunity_field_history", partition(6), told)
    home.build(*MODELS)

    assert findings(home) == [
        ("amount", "field history has no change of it", 2, 2, later[0]["id"], "5.000000", "100.000000"),
        ("stage_name", "field history tells another value", 1, 1, told["opportunity_id"], "B", "C"),
    ]


def deals_with_their_history(
    chance: random.Random, count: int, days: range
) -> tuple[dict[int, list[dict[str, object]]], dict[int, list[dict[str, object]]]]:
    """Versions of deals and the changes that made them, by partition: of a deal one at most. Deals begin open."""
    versions: dict[int, list[dict[str, object]]] = {day: [] for day in days}
    changes: dict[int, list[dict[str, object]]] = {day: [] for day in days}
    tracked = {"StageName": "stage_name", "Amount": "amount", "CloseDate": "close_date", "OwnerId": "owner_id"}
    numbers = itertools.count()
    for deal_number in range(count):
        before: dict[str, object] = {}
        begins = chance.choice(days)
        created = at(begins, chance.choice([1, 6, 20]))
        for day in days:
            if day < begins or (day > begins and chance.random() < 0.5):
                continue
            now = created if day == begins else at(day, chance.choice([1, 6, 20]))
            version = opportunity(
                deal_number,
                now,
                **chance.choice(STATES if before else STATES[:2]),
                amount=chance.choice([None, 100, 200]),
                close_date=date(2026, chance.choice([1, 2]), 15),
                owner_id=f"005{chance.choice([1, 2]):015d}",
                created_date=created,
            )
            version["probability"] = PROBABILITIES[str(version["stage_name"])]
            versions[day].append(version)
            for field, column in tracked.items() if before else []:
                if version[column] != before[column]:
                    row = change(next(numbers), now, opportunity_id=version["id"], field=field)
                    row["data_type"] = "EntityId" if field == "OwnerId" else "Text"
                    row["old_value"], row["new_value"] = (
                        None if value is None else str(value) for value in (before[column], version[column])
                    )
                    changes[day].append(row)
            before = version
    return versions, changes


PROBABILITIES = {"A": 10.0, "B": 20.0, "Won": 100.0, "Lost": 0.0}


def stages() -> list[dict[str, object]]:
    """The stages of STATES, as they are set up."""
    return [
        {
            "id": f"01J{number:015d}",
            "api_name": state["stage_name"],
            "sort_order": number,
            "default_probability": PROBABILITIES[str(state["stage_name"])],
            "is_active": True,
            "created_date": CREATED,
            "system_modstamp": CREATED,
        }
        | {name: state[name] for name in ("forecast_category", "is_closed", "is_won")}
        for number, state in enumerate(STATES)
    ]


def findings(home: Home) -> list[tuple]:
    """What the check of rebuilt values finds, without the times of its boundaries."""
    name = "rebuilt_values_are_those_observed"
    (found,) = (result for result in home.dbt("test", "--select", name).result if result.node.name == name)
    assert str(found.status) == ("warn" if found.failures else "pass"), found.message
    columns = "column_name, finding, opportunity_count, boundary_count, first_opportunity_id, observed_value"
    return home.rows(f"select {columns}, rebuilt_value from ({found.node.compiled_code}) order by 1")


def deal(modified: datetime, stage: str, created: datetime) -> dict[str, object]:
    return opportunity(1, modified, stage_name=stage, created_date=created)


def warned(home: Home, test: str) -> bool:
    result = home.dbt("test", "--select", test)
    assert result.success
    return any(str(found.status) == "warn" for found in result.result)
