"""The calendar of a state folder: begun once, kept for every process and every later run."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest

from gtm_assets import clock
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, boundary
from gtm_assets.runtime.instance import prepare_home
from gtm_assets.settings import SettingsError, load_settings
from gtm_assets.sources.salesforce.catalog import OBJECTS

LIVE = {
    "GTM_SALESFORCE_SOURCE": "live",
    "GTM_SALESFORCE_INSTANCE_URL": "http://127.0.0.1:1",
    "GTM_SALESFORCE_CLIENT_ID": "id",
    "GTM_SALESFORCE_CLIENT_SECRET": "secret",
}
SEPTEMBER = Calendar(date(2026, 9, 1), date(2026, 9, 30))
"""The default of the releases that kept no calendar."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def home(tmp_path):
    """Settings of the state folder of this test."""

    def settings(**given: str):
        return load_settings({"GTM_HOME": str(tmp_path / "gtm"), **given})

    return settings


@pytest.fixture
def at(monkeypatch):
    """Sets the platform's clock."""

    def set_clock(now: datetime) -> None:
        monkeypatch.setattr(clock, "now", lambda: now)

    return set_clock


def land(settings, *days: str) -> None:
    """A batch of one table in each partition, as a release that kept no calendar has left it."""
    lake, calendar = Lake(settings.lake_dir), Calendar(date(2020, 1, 1), None)
    for day in days:
        window = calendar.window(day)
        lake.land(OBJECTS[0], window, [], window.end)


@pytest.mark.parametrize(
    ("now", "first", "last"),
    [
        ("2026-11-28 22:00", "2026-10-28", "2026-11-26"),
        # A minute before a boundary, and at it, in winter time; in summer time; on the days the clocks change.
        ("2026-12-01 05:48", "2026-10-30", "2026-11-28"),
        ("2026-12-01 05:49", "2026-10-31", "2026-11-29"),
        ("2026-07-01 04:48", "2026-05-30", "2026-06-28"),
        ("2026-07-01 04:49", "2026-05-31", "2026-06-29"),
        ("2026-03-09 04:49", "2026-02-06", "2026-03-07"),
        ("2026-11-02 05:48", "2026-10-01", "2026-10-30"),
    ],
)
def test_a_fresh_state_folder_begins_thirty_days_before_the_last_boundary_and_has_no_end(
    home, at, now, first, last
):
    at(utc(now))
    foreseen = Calendar.of(home())

    begun = Calendar.begin(home())

    assert begun == foreseen == Calendar(date.fromisoformat(first), None)
    over = begun.closed(utc(now))
    assert (len(over), over[-1]) == (30, last)
    assert boundary(date.fromisoformat(last) + timedelta(days=1)) <= utc(now)


def test_only_asking_for_the_calendar_writes_nothing(home):
    Calendar.of(home())

    assert not home().home.exists()


def test_what_was_begun_stays(home, at, monkeypatch):
    at(utc("2026-11-28 22:00"))
    monkeypatch.setenv("DAGSTER_HOME", "to be set by prepare_home")
    prepare_home(home())

    at(utc("2027-11-28 22:00"))

    assert Calendar.of(home()) == Calendar.begin(home()) == Calendar(date(2026, 10, 28), None)
    kept = {"first_partition": "2026-10-28", "begun_at": "2026-11-28T22:00:00+00:00"}
    assert json.loads(home().calendar_path.read_text()) == kept
    assert Calendar.of(home()).begun_at == utc("2026-11-28 22:00")


def test_processes_that_begin_at_once_agree(home, monkeypatch):
    """Half of them see the boundary pass."""
    before = utc("2026-12-01 05:48")
    turns = itertools.count()
    monkeypatch.setattr(clock, "now", lambda: before + timedelta(minutes=next(turns) % 2))
    for attempt in range(25):
        settings, barrier = home(GTM_HOME=str(home().home / str(attempt))), Barrier(8)

        def begin(_, settings=settings, barrier=barrier) -> Calendar:
            barrier.wait()
            return Calendar.begin(settings)

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(begin, range(8)))) == 1


def test_the_settings_begin_and_end_a_calendar(home, at):
    at(utc("2026-11-28 22:00"))
    assert Calendar.of(home(GTM_END_DATE="2026-10-10")) == Calendar(date(2026, 9, 11), date(2026, 10, 10))
    assert Calendar.of(home(GTM_END_DATE="2026-12-24")) == Calendar(date(2026, 10, 28), date(2026, 12, 24))

    closed = Calendar.begin(home(GTM_START_DATE="2026-03-01", GTM_END_DATE="2026-03-05"))

    assert closed == Calendar(date(2026, 3, 1), date(2026, 3, 5))
    # Its first day is kept; whether it ends is asked each time.
    assert Calendar.of(home()) == Calendar(date(2026, 3, 1), None)
    assert Calendar.of(home(GTM_END_DATE="2026-03-31")).last == date(2026, 3, 31)


def test_a_start_that_contradicts_what_was_begun_is_refused_with_what_to_do(home):
    Calendar.begin(home(GTM_START_DATE="2026-03-01"))

    with pytest.raises(SettingsError) as refusal:
        Calendar.begin(home(GTM_START_DATE="2026-03-02"))
    assert str(refusal.value) == (
        f"GTM_START_DATE is 2026-03-02, and the calendar of {home().home} begins with 2026-03-01 (calendar.json), "
        "for good. Leave GTM_START_DATE out, or take another state folder: GTM_HOME"
    )
    assert Calendar.of(home(GTM_START_DATE="2026-03-01")).first == date(2026, 3, 1)


def test_an_end_before_what_was_begun_is_refused(home):
    Calendar.begin(home(GTM_START_DATE="2026-03-01"))

    with pytest.raises(SettingsError, match=r"GTM_END_DATE is 2026-02-28, .* begins after it, with 2026-03-01"):
        Calendar.of(home(GTM_END_DATE="2026-02-28"))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"first_partition": "soon"}', '{"first_partition": 3}', "null"])
def test_a_calendar_that_can_not_be_read_is_named(home, text):
    home().home.mkdir()
    home().calendar_path.write_text(text)

    with pytest.raises(
        SettingsError, match=r"gtm/calendar.json can't be read .* write there the oldest day of its"
    ):
        Calendar.begin(home())


# -- state folders that an earlier release began -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("landed", "given", "kept"),
    [
        (SEPTEMBER.closed(utc("2027-01-01")), {}, SEPTEMBER),
        (["2026-09-05", "2026-09-07"], {}, SEPTEMBER),
        (["2026-09-01", "2026-09-02"], {"GTM_END_DATE": "open"}, Calendar(SEPTEMBER.first, None)),
        (["2026-09-01", "2026-10-15"], {}, Calendar(SEPTEMBER.first, None)),
        (["2026-09-01", "2026-09-02"], LIVE, Calendar(SEPTEMBER.first, None)),
        (["2026-03-09"], {"GTM_START_DATE": "2026-03-08"}, Calendar(date(2026, 3, 8), date(2026, 4, 6))),
        (["2026-03-08"], {"GTM_START_DATE": "2026-03-08", **LIVE}, Calendar(date(2026, 3, 8), None)),
        (
            ["2026-03-08"],
            {"GTM_START_DATE": "2026-03-08", "GTM_END_DATE": "2026-03-09"},
            Calendar(date(2026, 3, 8), date(2026, 3, 9)),
        ),
        # It was begun with a setting that is not there any more.
        (["2026-03-08", "2026-03-09"], {}, Calendar(date(2026, 3, 8), None)),
    ],
    ids=[
        *("default", "a range of the default", "default without end", "default gone on", "live"),
        *("its own start", "live with its own start", "its own start and end", "start not set any more"),
    ],
)
def test_a_state_folder_with_a_lake_and_no_calendar_keeps_its_dates(home, landed, given, kept):
    settings = home(**given)
    land(settings, *landed)
    (settings.lake_dir / "quarantine/salesforce/account/partition=2019-01-01").mkdir(parents=True)

    assert Calendar.of(settings) == kept

    assert Calendar.begin(settings) == kept
    assert Calendar.of(settings) == kept


def test_of_merged_months_the_month_says_where_a_lake_begins(home):
    land(home(), "2026-12-01")
    (home().lake_dir / "salesforce/account/month=2026-09").mkdir()

    assert Calendar.of(home()) == Calendar(SEPTEMBER.first, None)
