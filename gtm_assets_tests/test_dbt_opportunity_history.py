"""Deals over time: no day is lost of a deal that did not change."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime

from gtm_assets_tests.dbt_harness import CREATED, TABLES, Home, at, empty_tables, opportunity, partition
from gtm_assets_tests.test_dbt_history import first_sightings

LANDED = ["opportunity", "user", "opportunity_field_history"]
VIEWS = [*(f"stg_salesforce__{table}" for table in LANDED), "int_currency_rates", "int_opportunity_days"]
INCREMENTAL = ["int_opportunity_versions", "fct_opportunity_history", "fct_opportunity_field_history"]
MODELS = [*(f"base_salesforce__{table}" for table in LANDED), *INCREMENTAL, "fct_pipeline_snapshot"]
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
        " from gtm_core.fct_opportunity_history group by 1 order by 1"
    )
    # First seen in the partition of the 2nd: the history begins at its boundary, on the evening of the 3rd.
    first, last = date(2026, 1, 3), date(2026, 1, 8)
    assert days == [("1", first, last, 6, 1), ("2", first, last, 6, 0), ("3", first, last, 6, 0)]


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
        "select max(date_day), count(*) from gtm_core.fct_opportunity_history where opportunity_id like '%1'"
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


def deal(modified: datetime, stage: str, created: datetime) -> dict[str, object]:
    return opportunity(1, modified, stage_name=stage, created_date=created)


def warned(home: Home, test: str) -> bool:
    result = home.dbt("test", "--select", test)
    assert result.success
    return any(str(found.status) == "warn" for found in result.result)
