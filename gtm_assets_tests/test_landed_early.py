"""A partition that is still open is landed early, up to a minute: it is not done, "now" is that minute, and its
end adds only what came since. No table shows afterwards that it was landed early.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import polars as pl
import pytest
from click.testing import CliRunner
from dagster._core.test_utils import freeze_time
from rich.console import Console

from gtm_assets import clock, place
from gtm_assets.automation.freshness import Freshness
from gtm_assets.automation.jobs import Jobs
from gtm_assets.automation.schedules import all_schedules
from gtm_assets.automation.sensors import missed, transformation
from gtm_assets.catalog.raw_table import Deletes, RawTable
from gtm_assets.checks.raw import VALUES, VOLUME, Limits, still_there
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.checks.service_levels import _first_landings
from gtm_assets.cli.main import main
from gtm_assets.cli.run import Options, refresh, wanted_by, with_open
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import TIMEZONE, Calendar, PartitionError, boundary
from gtm_assets.publishing.as_of import instant_of
from gtm_assets.publishing.publish import batches_digest, known_as_of
from gtm_assets.settings import load_settings
from gtm_assets.sources.extractions import missing
from gtm_assets.sources.pipedrive.catalog import TABLES as PIPEDRIVE
from gtm_assets.sources.raw_asset import UNTIL_TAG, Rules, asset_key
from gtm_assets.sources.salesforce.assets import raw_asset, totals_checks
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.sources.salesforce.totals import CHECK
from gtm_assets_tests.change_logs import ChangeLog, assert_equal
from gtm_assets_tests.dbt_harness import CREATED, Home, account, as_page, at, partition, user, with_ancestors
from gtm_assets_tests.lake_builders import content
from gtm_assets_tests.properties import at_most

OPEN = Calendar(date(2026, 1, 1), None)
ACCOUNT, USER = (next(table for table in OBJECTS if table.name == name) for name in ("account", "user"))
DAY = partition(5)
NOON = at(5, 14) + timedelta(seconds=31)
"""While partition 5 is open."""
MINUTE = at(5, 14)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


def land(lake: Lake, *records, day: str = DAY, now: datetime | None = None):
    window = OPEN.window(day, now)
    found = [r for r in records if r["system_modstamp"] < window.end]
    return lake.land(ACCOUNT, window, [as_page(found)], window.end)


# -- the calendar ----------------------------------------------------------------------------------------------


def test_an_open_partition_ends_with_the_last_whole_minute_and_one_that_is_over_at_its_end():
    early, over = OPEN.window(DAY, NOON), OPEN.window(partition(4), NOON)

    assert (early.start, early.end, early.is_open) == (at(5, 0), MINUTE, True)
    assert over == OPEN.window(partition(4)) and not over.is_open
    assert OPEN.window(DAY, OPEN.window(DAY).end) == OPEN.window(DAY)


@pytest.mark.parametrize(
    ("key", "now", "said"),
    [
        (partition(6), NOON, "partition 2026-01-06 has not begun, or just now: it goes from 2026-01-07 05:49 UTC"),
        (DAY, at(5, 0) + timedelta(seconds=59), "The last that is over is 2026-01-04"),
        (partition(1), at(1, 3), "no partition is over yet: the first, 2026-01-01, ends 2026-01-03 05:49 UTC"),
    ],
)
def test_what_has_not_begun_and_the_first_partition_are_not_landed_early(key, now, said):
    with pytest.raises(PartitionError, match=said):
        OPEN.window(key, now)


def test_which_partition_is_open():
    closed = Calendar(OPEN.first, date(2026, 1, 5))

    assert OPEN.open_at(NOON) == closed.open_at(NOON) == DAY
    assert OPEN.open_at(at(5, 0) + timedelta(seconds=59)) is None
    assert OPEN.open_at(at(5, 0) + timedelta(seconds=60)) == DAY
    assert OPEN.open_at(at(1, 3)) is closed.open_at(at(6, 3)) is None


# -- the lake --------------------------------------------------------------------------------------------------


def test_what_is_landed_early_is_not_landed_and_its_end_adds_only_what_came_since(lake):
    records = account(1, at(5, 2)), account(2, at(5, 15)), account(3, at(5, 20))

    early = land(lake, *records, now=NOON)
    assert (early.added, early.until, early.is_open) == (1, MINUTE, True)
    assert lake.landed_early(ACCOUNT) == {DAY: MINUTE} and lake.read_until(ACCOUNT) == MINUTE
    assert lake.partitions(ACCOUNT) == [DAY] and not lake.has_landed(ACCOUNT, DAY)

    later = land(lake, *records, now=at(5, 16))
    again = land(lake, *records, now=NOON)
    assert (later.added, again.added, lake.landed_early(ACCOUNT)) == (1, 0, {DAY: at(5, 16)})

    end = land(lake, *records)
    assert (end.added, end.batch_id, end.is_open) == (1, f"account-{DAY}-0002", False)
    assert lake.landed_early(ACCOUNT) == {} and lake.has_landed(ACCOUNT, DAY)
    assert lake.read_until(ACCOUNT) == OPEN.window(DAY).end
    assert [path.name for path in lake.partition_dir(ACCOUNT, DAY).glob("until*")] == []


def test_an_end_at_which_nothing_came_since_is_an_end(lake):
    land(lake, account(1, at(5, 2)), now=NOON)
    end = land(lake, account(1, at(5, 2)))

    assert (end.added, end.batch_id) == (0, None)
    assert lake.has_landed(ACCOUNT, DAY)


def test_an_early_landing_that_comes_behind_the_end_changes_nothing(lake):
    land(lake, account(1, at(5, 2)))
    late = land(lake, account(1, at(5, 2)), now=NOON)

    assert late.added == 0
    assert lake.has_landed(ACCOUNT, DAY) and lake.landed_early(ACCOUNT) == {}


def test_killed_at_any_moment_an_early_landing_never_looks_like_the_end(lake, monkeypatch):
    """The mark is there before the batch, and goes after that of the end."""
    seen, put_new = [], place.put_new

    def watched(temporary, final):
        seen.append(lake.landed_early(ACCOUNT))
        put_new(temporary, final)
        seen.append(lake.landed_early(ACCOUNT))

    monkeypatch.setattr(place, "put_new", watched)
    land(lake, account(1, at(5, 2)), now=NOON)
    land(lake, account(1, at(5, 2)), account(2, at(5, 20)))

    assert seen == [{DAY: MINUTE}] * 4


def test_what_could_not_be_read_early_is_owed_and_not_over(lake):
    lake.land_unreadable(ACCOUNT, OPEN.window(DAY, NOON), "hidden", MINUTE)

    assert lake.unreadable_partitions(ACCOUNT) == [DAY] and lake.landed_early(ACCOUNT) == {DAY: MINUTE}
    land(lake, now=at(5, 16))
    assert lake.unreadable_partitions(ACCOUNT) == [] and not lake.has_landed(ACCOUNT, DAY)


def test_a_full_extraction_of_the_day_before_leaves_alone_what_came_early_and_one_of_the_day_finds_what_is_gone(
    lake,
):
    land(lake, account(1, at(3)), account(2, at(3)), account(3, at(3)), day=partition(4))
    land(lake, account(2, at(5, 2)), account(4, at(5, 3)), now=NOON)
    # At one o'clock: 3 and 4 are gone, 2 has changed again.
    there = [as_page([account(1, at(3)), account(2, at(5, 15))])]

    before = lake.land_snapshot(ACCOUNT, OPEN.window(partition(4)), there, OPEN.window(partition(4)).end)
    assert (before.added, before.hard_deleted, lake.landed_early(ACCOUNT)) == (1, 1, {DAY: MINUTE})
    end = lake.land_snapshot(ACCOUNT, OPEN.window(DAY), there, OPEN.window(DAY).end)
    assert (end.added, end.hard_deleted, lake.has_landed(ACCOUNT, DAY)) == (2, 1, True)

    gone = lake.read(ACCOUNT).filter(pl.col("is_deleted")).select("id", "system_modstamp").collect().rows()
    assert sorted(gone) == [
        (account(3, at(3))["id"], OPEN.window(partition(4)).end),
        (account(4, at(3))["id"], OPEN.window(DAY).end),
    ]


class Changing:
    """A live organisation in one table: it shows each record once, as it is when it is asked.

    Records are made, changed and deleted within two days. A formula field changes, and changes back, without a new
    cursor; and some changes show up minutes after their time.
    """

    def __init__(self, chance: random.Random, table: RawTable) -> None:
        self.table, self._events = table, []
        for number in range(12):
            stamp = at(chance.choice([3, 5]), chance.randrange(1, 24))
            for moment in sorted(chance.sample(range(2 * 24 * 60), chance.randrange(1, 6))):
                now = at(5, 0) + timedelta(minutes=moment, seconds=chance.randrange(60))
                what = chance.choice(["change", "formula", "formula", "formula", "delete"])
                shown = now
                if what != "formula":
                    stamp, shown = now, now + timedelta(minutes=chance.choice([0, 0, 0, 20, 50]))
                gone = what == "delete" or None
                self._events.append((shown, now, number, stamp, f"{chance.randrange(3)}", gone))
                if gone:
                    break
        self._events.sort()

    def land(self, lake: Lake, day: str, now: datetime | None = None) -> None:
        """Land a partition, at its end or while it is open."""
        window, table = OPEN.window(day, now), self.table
        seen = {number: rest for shown, _, number, *rest in self._events if shown < window.end}
        since = window.start - timedelta(minutes=60)
        make, mark = (account, "is_deleted") if table is ACCOUNT else (user, "_fivetran_deleted")
        is_listed = table.deletes is Deletes.SOFT
        found = [
            make(number, stamp, name=value) | ({mark: True} if gone else {})
            for number, (stamp, value, gone) in seen.items()
            if since <= stamp < window.end and (is_listed or not gone)
        ]
        deletions = {user(n, s)["id"]: s for n, (s, _, gone) in seen.items() if gone and not is_listed}
        lake.land(table, window, [as_page(found)] if found else [], window.end, deletions)


def alive(lake: Lake, table: RawTable) -> dict[str, tuple[str, datetime]]:
    """Name and cursor (in whole milliseconds) of each record that is not deleted, by its newest version."""
    mark = pl.col(table.deletes.value).fill_null(False)
    found = lake.versions(lake.batches(table), ["id", "name", table.cursor, table.deletes.value, "_version_hash"])
    found = found.sort("_partition_key").unique("_version_hash", keep="first", maintain_order=True)
    found = found.sort(table.cursor, "_partition_key", mark, "_version_hash").unique("id", keep="last")
    found = found.filter(~mark).select("id", "name", pl.col(table.cursor).dt.truncate("1ms"))
    return {id_: (name, cursor) for id_, name, cursor in found.iter_rows()}


def test_a_content_that_changes_under_its_cursor_and_back_is_what_was_shown_last(lake):
    """As of a formula field, or of a field that was hidden meanwhile."""
    (id_,) = {account(1, CREATED)["id"]}
    for hours, name, added in ((6, "a", 1), (8, "b", 1), (9, "b", 0), (10, "a", 1), (11, "a", 0)):
        landing = land(lake, account(1, at(5, 2), name=name), now=at(5, hours))
        assert (landing.added, alive(lake, ACCOUNT)) == (added, {id_: (name, at(5, 2))})
    # The next day reads its last hour again, and a later change is a later change.
    end = OPEN.window(DAY).end
    late = account(2, end - timedelta(minutes=9), name="a")
    land(lake, late, now=end - timedelta(minutes=5))
    land(lake, late | {"name": "b"})
    for name in ("b", "c", "b"):
        land(lake, late | {"name": name}, day=partition(6))
        assert alive(lake, ACCOUNT)[late["id"]] == (name, late["system_modstamp"])
    land(lake, late | {"name": "d", "system_modstamp": end + timedelta(milliseconds=1)}, day=partition(6))
    assert alive(lake, ACCOUNT)[late["id"]][0] == "d"


def test_a_source_that_shows_several_versions_of_a_record_shows_them_all_each_time(lake):
    both = [account(1, at(5, 2), name=name) for name in ("a", "b")]

    assert [land(lake, *both, now=at(5, hours)).added for hours in (6, 8)] == [2, 0]


def test_what_comes_out_of_quarantine_is_no_later_sight(lake):
    bad = account(1, at(5, 2), name="old") | {"number_of_employees": "many"}
    land(lake, bad, now=at(5, 6))
    land(lake, account(1, at(5, 2), name="new"), now=at(5, 8))
    (path,) = lake.quarantine(ACCOUNT).files()
    waiting = pl.read_parquet(path)
    mended = waiting.with_columns(pl.col("record").str.replace("many", "7"))
    mended.write_parquet(path)

    (landing,) = lake.retry(ACCOUNT, OPEN.window, at(5, 9))

    assert landing.added == 1
    cursors = lake.read(ACCOUNT).select("system_modstamp").collect()["system_modstamp"].to_list()
    assert cursors == [at(5, 2)] * 2


@pytest.mark.parametrize("table", [ACCOUNT, USER], ids=lambda table: table.name)
def test_refreshes_and_the_days_end_give_the_newest_versions_of_the_days_end_alone(tmp_path, table):
    """After each of two days, whatever of a day was seen before its end."""
    for number in range(at_most(12)):
        chance = random.Random(f"{table.name} {number}")
        org = Changing(chance, table)
        early, plain = (Lake(tmp_path / f"{number}" / name) for name in ("early", "plain"))
        for day in (DAY, partition(6)):
            begin = OPEN.window(day).start
            ticks = [begin + timedelta(minutes=m) for m in range(15, 24 * 60, 15)]
            for tick in sorted(chance.sample(ticks, 4)):
                org.land(early, day, tick)
                if chance.random() < 0.2:
                    org.land(early, day, tick)
            for lake in (early, plain):
                org.land(lake, day)
            landed_again = lake.batches(table)
            org.land(early, day)
            assert alive(early, table) == alive(plain, table), f"example {number}, {day}"
            assert lake.batches(table) == landed_again


@pytest.mark.parametrize("name", ["opportunity", "task", "user", "forecasting_item", "opportunity_field_history"])
def test_the_synthetic_organisation_has_only_what_there_was_by_the_minute(tmp_path, name):
    org, table = SyntheticOrg(1, 0.001), next(t for t in OBJECTS if t.name == name)
    calendar, chance = Calendar(date(2026, 9, 8), None), random.Random(name)
    early, plain = Lake(tmp_path / "early"), Lake(tmp_path / "plain")
    for day in ("2026-09-08", "2026-09-09", "2026-09-10"):
        over = calendar.window(day)
        if over.start:
            for minutes in sorted(chance.sample(range(1, 24 * 60), 2)):
                window = calendar.window(day, over.start + timedelta(minutes=minutes))
                pages = list(org.changes(table, window))
                assert all((page[table.cursor] < window.end).all() for page in pages)
                early.land(table, window, pages, org.known_at(window))
        for lake in (early, plain):
            lake.land(table, over, org.changes(table, over), over.end)
    # A record that changed twice has one version more where it was seen in between.
    assert content(early, table) >= content(plain, table)


# -- what has landed -------------------------------------------------------------------------------------------


def test_a_day_that_has_landed_early_is_still_to_be_landed(lake, tmp_path):
    land(lake, account(1, at(3)), day=partition(4))
    land(lake, account(1, at(5, 2)), now=NOON)
    over = OPEN.window(DAY).end
    settings = load_settings({"GTM_HOME": str(tmp_path), "GTM_START_DATE": partition(4), "GTM_END_DATE": "open"})
    freshness = Freshness(settings, lake, [ACCOUNT])
    (key, *_) = freshness.tables

    assert missing(lake, [ACCOUNT], [partition(4)]) == {ACCOUNT: []}
    assert missing(lake, [ACCOUNT], [partition(4), DAY]) == {ACCOUNT: [DAY]}
    late = freshness.finding(key, over + timedelta(hours=20))
    assert "has not landed partition 2026-01-05" in late.sentence
    calendar = Calendar.of(settings)
    with dg.instance_for_test() as instance:
        waits = transformation(
            instance, calendar, lake, [ACCOUNT], CheckRegistry((), frozenset()), over + timedelta(minutes=20)
        )
        found = missed(instance, calendar, lake, [ACCOUNT], over + timedelta(hours=2), None)
    assert waits.skip_message == "Partition 2026-01-05 waits for 1 of 1 tables: account."
    assert [
        run.partition_key or run.tags["dagster/asset_partition_range_start"] for run in found.run_requests
    ] == [DAY]

    land(lake, account(1, at(5, 2)))
    assert missing(lake, [ACCOUNT], [partition(4), DAY]) == {ACCOUNT: []}
    assert freshness.finding(key, over + timedelta(hours=20)).passed


def test_an_asset_lands_the_open_partition_alike_and_its_checks_wait_for_the_end(lake, monkeypatch):
    """As from the UI: a run without the tag of ``gtm run --now``."""
    org, rules = SyntheticOrg(1, 0.001), Rules(Calendar(date(2026, 9, 8), None), Limits(0.5, 0.05))
    day, table = "2026-09-10", next(t for t in OBJECTS if t.name == "opportunity")
    window = rules.calendar.window(day)
    made = [raw_asset(table, set(), rules), totals_checks(rules.calendar)]
    resources = {"org": org, "lake": lake}

    def landed(now: datetime, **tags: str):
        monkeypatch.setattr(clock, "now", lambda: now)
        with freeze_time(now):
            result = dg.materialize(
                made,
                partition_key=day,
                tags=tags,
                resources=resources,
                selection=dg.AssetSelection.assets(asset_key(table)),
            )
        (event,) = result.get_asset_materialization_events()
        found = {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}
        return event.materialization.metadata["read_until"].value, found

    for key in ("2026-09-08", "2026-09-09"):
        lake.land(table, rules.calendar.window(key), org.changes(table, rules.calendar.window(key)), window.start)
    noon = window.start + timedelta(hours=14, seconds=31)
    until, found = landed(noon)
    assert until == noon.replace(second=0).timestamp() and lake.landed_early(table) == {
        day: noon.replace(second=0)
    }
    assert found[VOLUME].description == found[VALUES].description
    assert found[VALUES].description == f"Partition {day} is still open: it is compared when it is over."
    assert found[CHECK].passed, found[CHECK].description

    until, _ = landed(noon + timedelta(hours=1), **{UNTIL_TAG: (noon + timedelta(minutes=5)).isoformat()})
    assert until == (noon + timedelta(minutes=5)).replace(second=0).timestamp()
    until, found = landed(window.end)
    assert until == window.end.timestamp() and lake.has_landed(table, day)
    assert "still open" not in found[VOLUME].description and found[CHECK].passed


def test_the_service_level_counts_what_landed_after_the_end():
    ends = {DAY: OPEN.window(DAY).end}
    key = asset_key(ACCOUNT)
    with dg.instance_for_test() as instance:
        for hours in (-8, 1, 2):
            with freeze_time(ends[DAY] + timedelta(hours=hours)):
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=DAY))
        assert _first_landings(instance, key, ends) == {DAY: ends[DAY] + timedelta(hours=1)}


def test_what_has_landed_early_starts_no_build_by_itself(lake):
    land(lake, account(1, at(3)), day=partition(4))
    published = batches_digest((batch.table, batch.batch_id) for batch in lake.batches())
    land(lake, account(1, at(5, 2)), now=NOON)
    with dg.instance_for_test() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(["published", "gtm"], metadata={"batches": published})
        )
        calendar = Calendar(date(2026, 1, 3), None)
        waits = transformation(instance, calendar, lake, [ACCOUNT], CheckRegistry((), frozenset()), NOON)

    assert waits.skip_message == "All that has landed up to 2026-01-04 is published."


def test_a_boundary_that_is_still_to_come_has_nothing_known_of_it(lake):
    land(lake, account(1, at(3)), day=partition(4))
    land(lake, account(1, at(5, 2)), now=NOON)
    landed = [key for key in lake.partitions(ACCOUNT) if lake.has_landed(ACCOUNT, key)]

    assert instant_of("2026-01-05", OPEN, landed) == boundary(date(2026, 1, 5))
    with pytest.raises(PartitionError, match="the lake ends at the boundary of 2026-01-05: what is known as of"):
        instant_of("2026-01-06", OPEN, landed)


def test_the_schedule_takes_the_partition_that_ends_and_the_ui_offers_the_open_one(tmp_path):
    settings = load_settings({"GTM_HOME": str(tmp_path), "GTM_START_DATE": "2026-01-01", "GTM_END_DATE": "open"})
    daily = next(s for s in all_schedules(settings, Jobs.of(OBJECTS)) if s.name == "extract_daily")
    tick = OPEN.window(DAY).end
    assert daily(dg.build_schedule_context(scheduled_execution_time=tick)).partition_key == DAY
    assert OPEN.definition().get_partition_keys(current_time=NOON)[-2:] == [partition(4), DAY]


def test_a_newer_export_lands_in_the_open_partition_alone(tmp_path):
    folder, lake = tmp_path / "export", Lake(tmp_path / "gtm" / "lake")
    folder.mkdir()
    for table in PIPEDRIVE:
        (folder / table.api_name).write_text("id\n1\n")
        lake.land(table, OPEN.window(partition(4)), [], at(5, 0))
    settings = load_settings({"GTM_HOME": str(tmp_path / "gtm"), "GTM_PIPEDRIVE_DIR": str(folder)})

    assert set(map(tuple, wanted_by(settings, lake, PIPEDRIVE, [partition(4)]).values())) == {(partition(4),)}
    assert set(map(tuple, wanted_by(settings, lake, PIPEDRIVE, [partition(4)], DAY).values())) == {()}


def test_what_could_not_be_read_early_is_asked_for_again_by_the_next_run_and_nothing_else_of_that_day(lake):
    land(lake, account(1, at(3)), day=partition(4))
    lake.land_unreadable(ACCOUNT, OPEN.window(DAY, NOON), "hidden", MINUTE)
    lake.land(USER, OPEN.window(DAY, NOON), [], MINUTE)
    wanted = missing(lake, [ACCOUNT, USER], [partition(4)])

    again = with_open(lake, wanted, DAY, up_to_now=False)

    assert not still_there(lake, ACCOUNT).passed
    assert again == {ACCOUNT: [DAY], USER: [partition(4)]}
    assert with_open(lake, wanted, DAY, up_to_now=True) == {ACCOUNT: [DAY], USER: [partition(4), DAY]}
    land(lake, account(1, at(3)), now=at(5, 16))
    assert still_there(lake, ACCOUNT).passed
    assert with_open(lake, wanted, DAY, up_to_now=False) == wanted


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["--to", "2026-01-05"], "--now goes on to this minute: leave --to out."),
        (["--full-extraction"], "--full-extraction is of the last partition that is over: leave --now out."),
        (["--as-of", "2026-01-05"], "--as-of builds from the lake alone: leave the other options out."),
    ],
)
def test_what_now_does_not_go_with_is_refused(others, said):
    ran = CliRunner().invoke(main, ["run", "--now", *others])

    assert (ran.exit_code, said in ran.output) == (2, True), ran.output


def test_tables_that_another_loader_lands_have_no_open_partition(tmp_path):
    database = tmp_path / "external.duckdb"
    duckdb.connect(str(database)).close()
    settings = load_settings(
        {
            "GTM_HOME": str(tmp_path / "gtm"),
            "GTM_SALESFORCE_SOURCE": "external",
            "GTM_EXTERNAL_DATABASE": str(database),
        }
    )

    with pytest.raises(
        PartitionError, match="another loader lands the records, and each run reads all that it has"
    ):
        refresh(settings, Console(), Options(up_to_now=True))


# -- the models ------------------------------------------------------------------------------------------------


def test_now_is_the_minute_and_each_batch_says_up_to_when_it_was_read(tmp_path):
    home = Home(tmp_path / "gtm")
    home.land("user", partition(3), user(1, at(3)))
    home.land("user", partition(4), user(1, at(4)), user(2, at(4, 20)), until=at(4, 14))
    home.build("base_salesforce__user")
    listed = "select batch_id, read_until from gtm_meta.lake_batches order by 1"
    assert home.rows(listed) == [("user-2026-01-03-0000", at(4, 0)), ("user-2026-01-04-0000", at(4, 14))]
    assert now(home) == at(4, 14)
    (path,) = home.lake.partition_dir(USER, partition(4)).glob("*.parquet")
    pl.read_parquet(path).with_columns(pl.lit("read again").alias("name")).write_parquet(path)

    home.land("user", partition(4), user(1, at(4)), user(2, at(4, 20)))
    home.build("base_salesforce__user")
    assert {until for _, until in home.rows(listed)} == {at(4, 0), at(5, 0)}
    assert now(home) == at(5, 0)
    # The batch of the end comes behind none that was consumed: nothing is read again.
    names = home.rows("select name from gtm_staging.base_salesforce__user order by 1")
    assert names == [("User 1",), ("User 2",)]


def now(home: Home) -> datetime:
    with duckdb.connect(str(home.path / "warehouse.duckdb")) as connection:
        connection.execute("create table if not exists gtm_meta.external_tables (newest_synced_at timestamptz)")
        return known_as_of(connection).astimezone(UTC)


def test_days_of_deals_are_as_if_no_day_had_been_landed_early(tmp_path):
    """Days are landed while they are open, and built; at their end the tables are those of a lake that waited."""
    models = with_ancestors("fct_opportunity_history")
    early, plain = (ChangeLog(Home(tmp_path / name), "early") for name in ("early", "plain"))
    for day, minutes in ((2, ()), (3, (2, 9)), (4, (4,))):
        drawn = [
            (table, day, plain.draw(table, day, count)) for table, count in (("opportunity", 12), ("user", 2))
        ]
        for hours in minutes:
            for table, _, records in drawn:
                early.land(table, day, records, until=at(day, hours))
            early.build(*models)
            (last,) = early.home.rows("select max(date_day) from gtm_core.fct_opportunity_history")
            assert last == (at(day, hours).astimezone(ZoneInfo(TIMEZONE)).date(),)
        for log in (early, plain):
            for landing in drawn:
                log.land(*landing)
            log.build(*models)
        assert_equal(early, early.home, plain.home.tables("int_opportunity_versions", "fct_opportunity_history"))
