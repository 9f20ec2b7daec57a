"""Partitions: the calendar's windows tile time, in summer and winter, and agree with Dagster's."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtm_assets.partitions import (
    BATCH_SIZE,
    Calendar,
    PartitionError,
    batches,
    boundary,
    partition_of,
)
from gtm_assets.settings import load_settings
from gtm_assets_tests.properties import at_most

YEAR = Calendar(date(2026, 1, 1), date(2026, 12, 31))
OPEN = Calendar(date(2026, 9, 1), None)
DAYS = st.dates(date(1990, 1, 1), date(2090, 1, 1))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "instant"),
    [
        ("2026-01-15", "2026-01-16 05:49"),  # winter: eight hours behind UTC
        ("2026-07-15", "2026-07-16 04:49"),  # summer: seven
        ("2026-03-07", "2026-03-08 05:49"),  # the evening before summer time begins
        ("2026-03-08", "2026-03-09 04:49"),  # the evening of the day it begins
        ("2026-10-31", "2026-11-01 04:49"),  # the evening before it ends
        ("2026-11-01", "2026-11-02 05:49"),  # the evening of the day it ends
    ],
)
def test_a_partition_begins_at_21_49_in_los_angeles(day, instant):
    assert boundary(date.fromisoformat(day)) == utc(instant)


@pytest.mark.parametrize(("key", "hours"), [("2026-03-07", 23), ("2026-10-31", 25), ("2026-06-01", 24)])
def test_a_window_has_the_hours_that_the_clocks_give_it(key, hours):
    window = YEAR.window(key)

    assert window.end - window.start == timedelta(hours=hours)


@given(DAYS)
def test_windows_tile_time_without_gap_or_overlap(day):
    calendar = Calendar(day, day + timedelta(days=400))
    keys = [(day + timedelta(days=n)).isoformat() for n in range(0, 400, 40)]

    for key in keys:
        following = (date.fromisoformat(key) + timedelta(days=1)).isoformat()
        assert calendar.window(key).end == calendar.window(following).start
        assert calendar.window(key).end < calendar.window(following).end


def test_the_windows_of_a_year_follow_each_other():
    windows = [YEAR.window(key) for key in YEAR.closed(utc("2027-06-01"))]

    assert len(windows) == 365
    assert all(earlier.end == later.start for earlier, later in pairwise(windows))


def test_the_first_partition_takes_all_history():
    assert YEAR.window("2026-01-01").start is None
    assert YEAR.window("2026-01-01").end == utc("2026-01-03 05:49")
    assert YEAR.window("2026-01-02").start == utc("2026-01-03 05:49")


@settings(max_examples=at_most(20), deadline=None)
@given(DAYS, st.integers(0, 40))
def test_a_closed_calendar_is_dagsters(first, days):
    calendar = Calendar(first, first + timedelta(days=days))
    definition = calendar.definition()
    long_after = datetime.combine(calendar.last + timedelta(days=30), datetime.min.time(), UTC)

    keys = definition.get_partition_keys(current_time=long_after)

    assert keys == calendar.closed(long_after)
    assert len(keys) == days + 1
    for key in keys:
        theirs, ours = definition.time_window_for_partition_key(key), calendar.window(key)
        assert theirs.end == ours.end
        assert theirs.start == boundary(date.fromisoformat(key))


@pytest.mark.parametrize(
    "around", ["2026-11-01 04:49", "2026-11-02 05:49", "2027-03-15 04:49", "2026-09-20 04:49"]
)
@pytest.mark.parametrize("minutes", [-1, 0, 1])
def test_an_open_calendar_is_dagsters_to_the_minute(around, minutes):
    now = utc(around) + timedelta(minutes=minutes)

    # And the one that is still open, which may be landed early.
    assert [*OPEN.closed(now), partition_of(now)] == OPEN.definition().get_partition_keys(current_time=now)


def test_a_partition_is_over_at_the_moment_of_its_end_and_not_before():
    end = YEAR.window("2026-01-05").end

    assert YEAR.closed(end)[-1] == "2026-01-05"
    assert YEAR.closed(end - timedelta(microseconds=1))[-1] == "2026-01-04"


@given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)))
def test_an_instant_lies_in_the_window_of_its_partition(instant):
    key = partition_of(instant)
    day = date.fromisoformat(key)

    assert boundary(day) <= instant < boundary(day + timedelta(days=1))


@given(DAYS)
def test_partition_of_is_the_inverse_of_window(day):
    window = Calendar(day - timedelta(days=1), None).window(day.isoformat())

    assert partition_of(window.start) == window.key
    assert partition_of(window.end - timedelta(microseconds=1)) == window.key
    assert partition_of(window.end) != window.key


def test_partition_of_takes_instants_of_any_time_zone():
    instant = datetime(2026, 1, 5, 21, 49, tzinfo=ZoneInfo("America/Los_Angeles"))

    assert partition_of(instant) == "2026-01-05"
    assert partition_of(instant.astimezone(ZoneInfo("Asia/Tokyo"))) == "2026-01-05"


def test_a_range_names_its_partitions_both_ends_included():
    now = utc("2026-02-01 06:00")

    assert YEAR.range("2026-01-05", "2026-01-07", now) == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert YEAR.range("2026-01-05", "2026-01-05", now) == ["2026-01-05"]
    assert YEAR.range(None, "2026-01-02", now) == ["2026-01-01", "2026-01-02"]
    assert YEAR.range("2026-01-29", None, now) == ["2026-01-29", "2026-01-30"]
    assert YEAR.range(None, None, now) == YEAR.closed(now)


def test_a_range_may_be_counted_back_from_the_last_boundary():
    now, ended = utc("2026-02-01 06:00"), utc("2028-01-01")

    assert YEAR.range("-1d", None, now) == ["2026-01-30"]
    assert YEAR.range("-3d", "-2d", now) == ["2026-01-28", "2026-01-29"]
    assert YEAR.range("2026-01-29", "-1d", now) == ["2026-01-29", "2026-01-30"]
    assert YEAR.range("-1d", None, ended) == ["2026-12-31"]
    with pytest.raises(PartitionError, match="partition 2025-12-31 is before the first"):
        YEAR.range("-31d", None, now)
    for text in ("-0d", "-d", "3d", "-1", "- 1d"):
        with pytest.raises(PartitionError, match=f"'{text}' is not a partition"):
            YEAR.range(text, None, now)


@pytest.mark.parametrize(
    ("first", "last"), [(None, "2026-02-01"), ("2026-02-01", None), ("2026-02-01", "2026-01-05")]
)
def test_a_partition_that_is_not_over_is_refused_with_its_end_and_the_last_that_is(first, last):
    with pytest.raises(PartitionError) as refusal:
        YEAR.range(first, last, utc("2026-02-01 06:00"))

    assert str(refusal.value) == (
        "partition 2026-02-01 is not over: it ends 2026-02-03 05:49 UTC. The last that is over is 2026-01-30."
    )


def test_before_the_first_partition_is_over_there_is_none():
    with pytest.raises(
        PartitionError, match=r"no partition is over yet: the first, 2026-09-01, ends 2026-09-03 04:49 UTC"
    ):
        OPEN.range(None, None, utc("2026-09-03 04:48"))


def test_a_range_whose_first_day_is_after_its_last_is_refused():
    with pytest.raises(PartitionError, match="the range from 2026-01-07 to 2026-01-05 is empty"):
        YEAR.range("2026-01-07", "2026-01-05", utc("2026-02-01 06:00"))


def test_a_partition_outside_the_calendar_is_refused_with_the_setting_that_ends_it():
    with pytest.raises(PartitionError, match=r"2025-12-31 is before the first, 2026-01-01, with which the state"):
        YEAR.window("2025-12-31")
    with pytest.raises(PartitionError, match=r"2027-01-01 is after the last, 2026-12-31 \(GTM_END_DATE; `open`"):
        YEAR.range(None, "2027-01-01", utc("2028-01-01"))


@pytest.mark.parametrize("key", ["", "today", "2026-02-30", "2026-1-5", "20260105", "2026-W02-1", "2026-01-05 "])
def test_what_is_not_a_day_is_no_partition(key):
    with pytest.raises(PartitionError, match="is not a partition: partitions are days, such as 2026-09-01"):
        YEAR.window(key)


def test_the_calendar_follows_the_settings(tmp_path):
    given = {"GTM_HOME": str(tmp_path), "GTM_START_DATE": "2026-03-01"}
    closed = Calendar.of(load_settings({**given, "GTM_END_DATE": "2026-03-05"}))
    unending = Calendar.of(load_settings({**given, "GTM_END_DATE": "open"}))

    assert len(closed.closed(utc("2030-01-01"))) == 5
    assert len(unending.closed(utc("2027-03-02 05:49"))) == 365


@given(st.integers(0, 200))
def test_batches_hold_every_key_once_in_order_and_at_most_31_each(count):
    keys = [f"key {n}" for n in range(count)]

    made = batches(keys)

    assert [key for batch in made for key in batch] == keys
    assert BATCH_SIZE == 31
    assert all(len(batch) == 31 for batch in made[:-1])
    assert all(1 <= len(batch) <= 31 for batch in made)
