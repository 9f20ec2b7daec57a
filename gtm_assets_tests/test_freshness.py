"""Freshness by partition: what is late is told with what it waits for, what is in time is left alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from gtm_assets.automation.alerts.tick import tick
from gtm_assets.automation.freshness import Freshness
from gtm_assets.checks.freshness import Deadline, landed_on_time, published_on_time
from gtm_assets.checks.service_levels import DAYS, days_on_time, judge
from gtm_assets.checks.source_freshness import judge as judge_source
from gtm_assets.checks.source_freshness import measure, source_freshness_checks
from gtm_assets.dbt.project import manifest_path
from gtm_assets.definitions import definitions
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.instance import prepare_home
from gtm_assets.settings import load_settings
from gtm_assets.sources.salesforce.catalog import OBJECTS

CALENDAR = Calendar(date(2026, 2, 1), None)
LANDING = Deadline(timedelta(0), timedelta(minutes=30), timedelta(minutes=60))
PUBLISHING = Deadline(timedelta(minutes=60), timedelta(minutes=15), timedelta(minutes=30))
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
LAST = "2026-03-10"
HOUR = {"count": 1, "period": "hour"}
END = CALENDAR.window(LAST).end


def landed(upto: str, **counts: int) -> dict[str, int]:
    keys = [key for key in CALENDAR.closed(END + timedelta(days=9)) if key <= upto]
    return dict.fromkeys(keys, 5) | {key.replace("_", "-").removeprefix("d-"): n for key, n in counts.items()}


def test_a_table_that_has_landed_all_that_is_over_is_on_time():
    found = landed_on_time("salesforce.task", CALENDAR, landed(LAST), END + timedelta(hours=20), LANDING)

    assert found.passed
    assert "up to 2026-03-10 have landed" in found.sentence


@pytest.mark.parametrize(
    ("minutes", "passed", "severity"),
    [
        (0, True, None),
        (29, True, None),
        (30, False, WARN),
        (59, False, WARN),
        (60, False, ERROR),
        (900, False, ERROR),
    ],
)
def test_a_day_that_has_not_landed_warns_after_half_an_hour_and_is_critical_after_one(minutes, passed, severity):
    now = END + timedelta(minutes=minutes)

    found = landed_on_time("salesforce.task", CALENDAR, landed("2026-03-09"), now, LANDING)

    assert found.passed == passed
    if not passed:
        assert found.severity == severity
        assert "salesforce.task has not landed partition 2026-03-10" in found.sentence
        assert "gtm run --from 2026-03-10 --to 2026-03-10" in found.sentence


def test_a_backfill_of_an_old_day_does_not_make_a_stale_table_look_fresh():
    """What Dagster's own policies can't tell: something ran just now, and the day is missing all the same."""
    holes = landed(LAST)
    del holes["2026-03-03"]

    found = landed_on_time("salesforce.task", CALENDAR, holes, END, LANDING)

    assert (found.passed, found.severity) == (False, ERROR)
    assert found.figures["missing_partitions"] == ["2026-03-03"]


def test_a_table_that_falls_silent_for_longer_than_ever_warns():
    quiet = {"d_2026_03_08": 0, "d_2026_03_09": 0, "d_2026_03_10": 0}
    weekend = {"d_2026_03_01": 0, "d_2026_03_02": 0}

    assert landed_on_time("t", CALENDAR, landed(LAST, **weekend), END, LANDING).passed
    found = landed_on_time("t", CALENDAR, landed(LAST, **quiet, **weekend), END, LANDING)
    never = landed_on_time("t", CALENDAR, dict.fromkeys(landed(LAST), 0), END, LANDING)

    assert (found.passed, found.severity) == (False, WARN)
    assert (found.figures["silent_days"], found.figures["usual_silent_days"]) == (3, 2)
    assert never.passed


@pytest.mark.parametrize(("days_before", "passed"), [(3, True), (13, True), (14, False)])
def test_the_first_weekends_are_no_silence(days_before, passed):
    """Until two weeks are known nobody can say how long a table is usually silent."""
    start = date.fromisoformat(LAST) - timedelta(days=days_before + 2)
    young = Calendar(start, None)
    counts = {(start + timedelta(days=n)).isoformat(): 5 for n in range(days_before + 1)}
    silent = {(start + timedelta(days=n)).isoformat(): 0 for n in (days_before + 1, days_before + 2)}

    found = landed_on_time("salesforce.lead", young, counts | silent, END, LANDING)

    assert found.passed == passed, found.sentence


@pytest.mark.parametrize(
    ("minutes", "passed", "severity"),
    [(74, True, None), (75, False, WARN), (89, False, WARN), (90, False, ERROR)],
)
def test_the_published_file_is_late_after_its_deadline(minutes, passed, severity):
    yesterday = CALENDAR.window("2026-03-09").end

    found = published_on_time(CALENDAR, yesterday, END + timedelta(minutes=minutes), PUBLISHING)

    assert found.passed == passed
    assert passed or found.severity == severity
    assert passed or "what is published is of 2026-03-11 04:49 UTC" in found.sentence


def test_the_published_file_is_on_time_once_it_knows_the_day():
    assert published_on_time(CALENDAR, END, END + timedelta(hours=12), PUBLISHING).passed
    assert not published_on_time(CALENDAR, None, END + timedelta(hours=12), PUBLISHING).passed


@pytest.mark.parametrize(("minutes", "late"), [(29, False), (30, True)])
def test_what_was_over_when_a_state_folder_began_is_due_since_then(minutes, late):
    """Who opens the UI on a fresh state folder is not told that a month is missing before anything could land."""
    begun = END + timedelta(hours=7)
    young, now = replace(CALENDAR, begun_at=begun), begun + timedelta(minutes=minutes)

    assert landed_on_time("salesforce.task", young, {}, now, LANDING).passed != late
    assert published_on_time(young, None, now + timedelta(minutes=45), PUBLISHING).passed != late


# -- on a calendar that ends ------------------------------------------------------------------------------------

CLOSED = Calendar(CALENDAR.first, date.fromisoformat(LAST))


def test_on_a_calendar_that_ends_nothing_is_late():
    now = END + timedelta(days=60)
    ends = "The calendar ends with 2026-03-10 (GTM_END_DATE), so nothing is late."

    landing = landed_on_time("salesforce.task", CLOSED, landed("2026-03-08"), now, LANDING)
    unpublished, behind = (
        published_on_time(CLOSED, as_of, now, PUBLISHING) for as_of in (None, CLOSED.window("2026-03-08").end)
    )
    loaded = {"max_loaded_at": "2026-03-10T04:49:00+00:00", "criteria": {"warn_after": HOUR, "error_after": HOUR}}
    source, unknown = (
        judge_source(loaded | said, now, CLOSED.last)
        for said in ({}, {"max_loaded_at": "0001-01-01T00:00:00+00:00"})
    )

    for found in (landing, unpublished, behind, source, unknown):
        assert found.passed
        assert found.sentence.endswith(ends)
    assert landing.sentence == f"2 partitions from 2026-03-09 on have not landed. {ends}"
    assert landing.figures["missing_partitions"] == ["2026-03-09", LAST]
    assert behind.sentence.startswith("Partition 2026-03-09 is not published: what is published is of 2026-03-10")
    assert source.figures["hours_ago"] == 62 * 24
    # With days that follow the same is late.
    assert not landed_on_time("salesforce.task", CALENDAR, landed("2026-03-08"), now, LANDING).passed
    assert not judge_source(loaded, now).passed


def test_on_a_calendar_that_ends_no_day_counts_for_the_service_level():
    late = {"task": {key: CALENDAR.window(key).end + timedelta(hours=9) for key in CALENDAR.closed(END)}}

    measured = [
        days_on_time(c, END + timedelta(hours=3), late, [], LANDING, PUBLISHING) for c in (CALENDAR, CLOSED)
    ]

    assert [len(found.missed) for found in measured] == [DAYS, 0]
    assert measured[1].share is None


@pytest.mark.slow
def test_materializing_one_raw_partition_of_a_calendar_that_ends_opens_no_incident(tmp_path):
    """What a click in the UI runs: the asset with all its checks, months after the calendar's end."""
    given = {"GTM_START_DATE": "2026-09-01", "GTM_END_DATE": "2026-09-30", "GTM_SYNTHETIC_SCALE": "0.001"}
    settings = load_settings({"GTM_HOME": str(tmp_path), **given})
    prepare_home(settings)
    served = definitions(settings)
    key = dg.AssetKey(["salesforce", "contact"])
    click = served.resolve_implicit_global_asset_job_def()

    with dg.DagsterInstance.get() as instance:
        ran = click.execute_in_process(instance=instance, asset_selection=[key], partition_key="2026-09-01")
        alerted = tick(instance, served.get_repository_def(), settings, datetime.now(UTC) + timedelta(minutes=5))

    checked = {found.check_name: found.passed for found in ran.get_asset_check_evaluations()}
    assert {"landed_on_time", "source_is_fresh"} <= checked.keys()
    assert [name for name, passed in checked.items() if not passed] == []
    assert alerted.unresolved == 0


# -- by dbt ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_dbt_tells_of_each_busy_source_how_old_its_newest_row_is(built_home, tmp_path):
    """The made-up calendar of the built home ended long ago."""
    settings = load_settings({"GTM_HOME": str(tmp_path)})
    shutil.copytree(built_home.path / "lake", settings.lake_dir)
    manifest = json.loads(manifest_path().read_text())
    checks = source_freshness_checks(settings, manifest)
    wanted = [manifest["sources"][f"source.gtm_dbt.salesforce.{table}"] for table in ("task", "lead")]

    results = measure(settings, DuckDB(settings.warehouse_path), wanted)

    assert {spec.asset_key.path[-1] for spec in checks.check_specs} == {
        t.name for t in OBJECTS if t.expects_daily_rows
    }
    assert set(results) == {source["unique_id"] for source in wanted}
    for result in results.values():
        loaded = datetime.fromisoformat(result["max_loaded_at"])
        late = judge_source(result, loaded + timedelta(days=9))
        assert judge_source(result, loaded + timedelta(hours=95)).passed
        assert (late.passed, late.severity) == (False, ERROR)
        assert late.figures["newest_row_loaded_at"].startswith("2026-09-1")
        assert "(warn after 96, error after 168)" in late.sentence


@pytest.mark.parametrize(
    ("hours", "passed", "severity"), [(96, True, None), (97, False, WARN), (168, False, WARN), (169, False, ERROR)]
)
def test_a_source_is_stale_from_its_limits_on(hours, passed, severity):
    limits = {name: {"count": n, "period": "hour"} for name, n in (("warn_after", 96), ("error_after", 168))}
    result = {
        "status": "error",
        "max_loaded_at": "2026-03-10T04:49:00+00:00",
        "criteria": limits | {"filter": None},
    }

    found = judge_source(result, datetime(2026, 3, 10, 4, 49, tzinfo=UTC) + timedelta(hours=hours))

    assert found.passed == passed
    assert passed or found.severity == severity
    assert found.sentence == f"The newest row was loaded {hours:.1f} hours ago (warn after 96, error after 168)."


def test_a_source_that_dbt_can_not_read_fails():
    found = judge_source({"status": "runtime error", "error": "no such file"}, END)

    assert (found.passed, found.severity) == (False, ERROR)
    assert found.sentence == "dbt could not tell: no such file."


def test_a_file_that_can_not_be_read_is_not_fresh_and_keeps_no_other_from_being_judged(tmp_path):
    settings = load_settings({"GTM_HOME": str(tmp_path), "GTM_START_DATE": LAST, "GTM_END_DATE": LAST})
    lake, (torn, whole) = Lake(settings.lake_dir), OBJECTS[:2]
    freshness = Freshness(settings, lake, [torn, whole])
    window = freshness.calendar.window(LAST)
    for table in (torn, whole):
        lake.land(table, window, [], window.end)
    (file,) = lake.partition_dir(torn, LAST).glob("*.parquet")
    file.write_bytes(b"PAR1 and no more")
    settings.published_path.parent.mkdir()
    settings.published_path.write_bytes(b"no database")

    found = {key: freshness.finding(key, window.end) for key in freshness.keys}

    assert [finding.passed for finding in found.values()] == [False, True, False]
    torn_said, _, published_said = (finding.sentence for finding in found.values())
    assert f"{torn.qualified_name} can't be read" in torn_said
    assert "the published file can't be read" in published_said


# -- service levels ---------------------------------------------------------------------------------------------


def days(late_table: str | None = None, late_file: str | None = None, first: str = "2026-02-01"):
    keys = [key for key in CALENDAR.closed(END) if key >= first]
    landed_at = {
        table: {key: CALENDAR.window(key).end + timedelta(minutes=5) for key in keys} for table in ("task", "lead")
    }
    published_at = [
        (CALENDAR.window(key).end + timedelta(minutes=20), CALENDAR.window(key).end)
        for key in keys
        if key != late_file
    ]
    if late_table:
        landed_at["lead"][late_table] += timedelta(hours=2)
    if late_file:
        published_at.append((CALENDAR.window(late_file).end + timedelta(hours=5), CALENDAR.window(late_file).end))
    return days_on_time(CALENDAR, END + timedelta(hours=3), landed_at, published_at, LANDING, PUBLISHING)


def test_thirty_days_on_time_meet_the_level():
    measured = days()

    assert len(measured.judged) == DAYS
    assert measured.share == 1
    assert judge(measured, 200, 200, []).passed


@pytest.mark.parametrize(
    ("late", "why"), [({"late_table": LAST}, "lead landed late"), ({"late_file": LAST}, "published")]
)
def test_one_late_day_in_thirty_breaks_it_and_is_named(late, why):
    measured = days(**late)
    found = judge(measured, 200, 200, [])

    assert measured.share == pytest.approx(29 / 30)
    assert (found.passed, found.severity) == (False, ERROR)
    assert f"96.7% of 30 days were on time, 99.5% were promised ({LAST}: {why}" in found.sentence


def test_days_before_the_platform_ran_are_not_judged():
    assert len(days(first="2026-03-06").judged) == 4


def test_failed_transformations_and_standing_discrepancies_break_it():
    assert judge(days(), 99, 100, []).passed
    assert "98.0% of 100 transformations succeeded" in judge(days(), 98, 100, []).sentence
    assert "discrepancies stand: gtm_core/x" in judge(days(), 1, 1, ["gtm_core/x reconciles_with_source"]).sentence


def test_nothing_is_promised_before_the_first_deadline():
    found = judge(days_on_time(CALENDAR, datetime(2026, 2, 1, tzinfo=UTC), {}, [], LANDING, PUBLISHING), 0, 0, [])

    assert found.passed
    assert "no day was due yet" in found.sentence


def test_a_source_of_which_no_row_says_when_it_was_loaded_has_no_age():
    found = judge_source({"max_loaded_at": "0001-01-01T00:00:00+00:00", "criteria": {}, "status": "error"}, END)

    assert (found.passed, found.sentence) == (False, "No row says when it was loaded (_fivetran_synced).")
