"""The checks of a raw table, on summaries made by hand: no lake is needed to try them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import numpy as np
import pytest

from gtm_assets.checks.raw import (
    DRIFT,
    QUARANTINE,
    VALUES,
    VOLUME,
    Limits,
    findings,
    has_not_vanished,
    nothing_in_quarantine,
)
from gtm_assets.lake.landing import Landing, Problem
from gtm_assets.lake.profile import Feature, Profile
from gtm_assets.lake.summary import Access, Hole, LandingSummary, Waiting
from gtm_assets.partitions import end_of
from gtm_assets_tests.lake_builders import DEALS

LAST = "2026-02-11"
DAYS = tuple((date.fromisoformat(LAST) - timedelta(days)).isoformat() for days in range(1, 29))
LIMITS = Limits(volume_tolerance=0.2, quarantine_share=0.05)
AMOUNTS = Feature("amount", "is null")


def landing(partition: str = LAST, **changes: object) -> Landing:
    made = Landing(
        table=DEALS,
        partition=partition,
        batch_id=f"deal-{partition}-0000",
        received=100,
        added=100,
        quarantined=0,
        bytes=1,
        newest_cursor=None,
        problems=(),
        rounded=(),
        unknown_columns=(),
        missing_columns=(),
        columns={},
        until=end_of(partition),
        is_open=False,
    )
    return dataclasses.replace(made, **changes)


def profile(nulls: int) -> Profile:
    """Of 100 records a day, ten are without an amount; on the last day ``nulls``."""
    return Profile(
        partition=LAST,
        columns=("amount",),
        features=(AMOUNTS,),
        records=100,
        hits=np.array([nulls]),
        days=DAYS,
        records_by_day=np.full((28, 1), 100),
        hits_by_day=np.full((28, 1), 10),
    )


def summary(**changes: object) -> LandingSummary:
    made = LandingSummary(
        landings=(landing(),),
        recent_counts=dict.fromkeys((*DAYS, LAST), 100),
        columns_with_values=frozenset(DEALS.types),
        waiting=Waiting(DEALS, 0),
        access=Access(DEALS, None),
        profile=profile(nulls=10),
    )
    return dataclasses.replace(made, **changes)


def failed(made: LandingSummary, read: frozenset[str] = frozenset()) -> set[str]:
    return {name for name, finding in findings(made, read, LIMITS).items() if not finding.passed}


def test_a_day_like_the_others_passes_every_check():
    found = findings(summary(), {"amount"}, LIMITS)

    assert list(found) == [QUARANTINE, DRIFT, VOLUME, VALUES]
    assert all(finding.passed for finding in found.values())
    assert found[VOLUME].sentence == f"100 records in {LAST}, 100 were to be expected."
    assert found[VALUES].sentence == "The shares of 1 columns are what they were."


def test_half_the_records_are_a_matter_of_volume_alone():
    made = summary(recent_counts=dict.fromkeys(DAYS, 100) | {LAST: 30})

    assert failed(made) == {VOLUME}
    assert findings(made, (), LIMITS)[VOLUME].figures["unusual_partitions"] == [LAST]


def test_emptied_amounts_are_a_matter_of_values_alone():
    made = summary(profile=profile(nulls=90))

    assert failed(made) == {VALUES}
    finding = findings(made, (), LIMITS)[VALUES]
    assert "amount is null in 90% of the records, 10% in the 28 days before" in finding.sentence
    assert "where amount is null" in finding.sql


@pytest.mark.parametrize(("read", "severity"), [({"amount"}, "ERROR"), (set(), None)])
def test_a_column_that_is_gone_is_drift_where_models_read_it(read, severity):
    made = summary(landings=(landing(missing_columns=("amount",)),))

    finding = findings(made, read, LIMITS)[DRIFT]

    assert finding.passed == (severity is None)
    assert finding.figures["columns_gone"] == ["amount"]


def test_a_column_that_never_had_a_value_is_not_gone():
    made = summary(landings=(landing(missing_columns=("amount",)),), columns_with_values=frozenset({"id"}))

    assert failed(made, frozenset({"amount"})) == set()


def test_a_type_that_changed_is_drift():
    problem = Problem("lines", "is not a whole number", 60, "006", "two")

    assert failed(summary(landings=(landing(problems=(problem,)),))) == {DRIFT}


def test_a_partition_that_is_open_is_compared_neither_in_volume_nor_in_values():
    made = summary(landings=(landing(is_open=True),), recent_counts={LAST: 0}, profile=None)

    found = findings(made, (), LIMITS)

    assert found[VOLUME].passed and found[VALUES].passed
    assert "is still open" in found[VOLUME].sentence and "is still open" in found[VALUES].sentence


def test_of_a_run_each_partition_that_is_over_is_judged_by_its_volume():
    made = summary(
        landings=(landing(DAYS[0]), landing(LAST, is_open=True)),
        recent_counts=dict.fromkeys(DAYS[1:], 100) | {DAYS[0]: 20, LAST: 0},
    )

    assert findings(made, (), LIMITS)[VOLUME].figures["unusual_partitions"] == [DAYS[0]]


@pytest.mark.parametrize(("missing", "severity"), [(5, "WARN"), (6, "ERROR")])
def test_quarantine_blocks_from_the_share_on_that_the_settings_give(missing, severity):
    waiting = Waiting(DEALS, 6, (Hole(LAST, missing, 100 - missing),), ({"record_id": "006"},))

    finding = nothing_in_quarantine(waiting, 0.05)

    assert not finding.passed
    assert finding.severity == dg.AssetCheckSeverity[severity]
    assert finding.figures == {"records": 6, "partitions_blocked": [LAST] if severity == "ERROR" else []}
    assert finding.sample == ({"record_id": "006"},)


@pytest.mark.parametrize(
    ("access", "passed", "said"),
    [
        (Access(DEALS, None), True, "It can be read."),
        (Access(DEALS, "hidden", 0), True, "It never had a record, and can't be read."),
        (Access(DEALS, "hidden.", 7), False, "had 7 records and can't be read any more: hidden. Nothing is"),
        (Access(DEALS, "hidden", 7, datetime(2026, 2, 1, tzinfo=UTC)), True, "said so on 2026-02-01 00:00 UTC"),
    ],
)
def test_a_table_that_had_records_vanishes_where_nobody_has_said_that_it_is_gone(access, passed, said):
    finding = has_not_vanished(access)

    assert finding.passed == passed
    assert said in finding.sentence
