"""Which partitions `gtm run` lands, and in which runs."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtm_assets.sources.extractions import extractions, missing
from gtm_assets.sources.salesforce.catalog import OBJECTS

ACCOUNT, CONTACT, TASK = (next(o for o in OBJECTS if o.name == n) for n in ("account", "contact", "task"))


def days(first: str, count: int) -> list[str]:
    return [(date.fromisoformat(first) + timedelta(days=i)).isoformat() for i in range(count)]


def test_tables_that_miss_the_same_days_share_runs_of_at_most_31():
    keys = days("2026-01-01", 70)

    plan = extractions({ACCOUNT: keys, CONTACT: keys, TASK: []})

    assert [len(e.partitions) for e in plan] == [31, 31, 8]
    assert all(e.tables == (ACCOUNT, CONTACT) for e in plan)


def test_a_gap_splits_a_run_because_a_range_is_named_by_its_ends():
    keys = ["2026-01-01", "2026-01-02", "2026-01-05"]

    plan = extractions({ACCOUNT: keys})

    assert [e.partitions for e in plan] == [("2026-01-01", "2026-01-02"), ("2026-01-05",)]


@given(st.dictionaries(st.sampled_from(OBJECTS), st.sets(st.sampled_from(days("2026-01-01", 90)))))
def test_each_wanted_partition_is_landed_once_and_no_other(wanted):
    plan = extractions({table: sorted(keys) for table, keys in wanted.items()})

    landed = [(table, key) for e in plan for table in e.tables for key in e.partitions]
    assert len(landed) == len(set(landed))
    assert set(landed) == {(table, key) for table, keys in wanted.items() for key in keys}
    for e in plan:
        assert list(e.partitions) == days(e.partitions[0], len(e.partitions))


@pytest.mark.parametrize(
    ("landed", "owed", "wanted"),
    [
        ([1, 2], [], [3]),
        # Landed early, while it was open; and kept from us then too.
        ([1, 2, "3 early"], [], [3]),
        ([1, 2, "3 early"], [2, 3], [3]),
        ([1, 2, 3, "4 early"], [3, 4], [3]),
        ([1, 2, 3], [], []),
        # Read again at its newest: all that is owed.
        ([1, 2, 3], [1, 2], [1, 2]),
        ([1, 3], [1], [1, 2]),
        # Still kept from us: one shows whether it is.
        ([1, 2, 3], [1, 2, 3], [3]),
        ([2, 3, 4], [2, 4], [1]),
        ([1, 2], [1, 2], [3]),
        # The newest has just landed and is not to be asked for yet.
        ([1, 2, 3, 4], [2, 3, 4], []),
        # Killed between the mark and the batch.
        ([], [1], [1, 2, 3]),
    ],
)
def test_missing_asks_for_what_a_table_has_not_landed_and_for_what_it_is_owed(landed, owed, wanted):
    class Lake:
        def partitions(self, table):
            return [f"2026-01-0{str(day)[0]}" for day in landed]

        def landed_early(self, table):
            return {f"2026-01-0{day[0]}": None for day in landed if isinstance(day, str)}

        def unreadable_partitions(self, table):
            return [f"2026-01-0{day}" for day in owed]

    found = missing(Lake(), [ACCOUNT], days("2026-01-01", 3))

    assert found == {ACCOUNT: [f"2026-01-0{day}" for day in wanted]}
