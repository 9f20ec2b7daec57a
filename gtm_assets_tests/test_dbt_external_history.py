"""History mode of external tables: the loader's intervals say which version is current, and since when."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import polars as pl
import pytest
from hypothesis import strategies as st

from gtm_assets.checks.active_rows import reconcile_with_active_rows
from gtm_assets.checks.definitions import built_checks, checks_by_key
from gtm_assets.checks.reconciliation import reconcile_with_core
from gtm_assets.dbt.external import external_tables
from gtm_assets.engines.files import connect
from gtm_assets.publishing.publish import known_as_of
from gtm_assets.settings import load_settings
from gtm_assets.sources.registry import proofs
from gtm_assets_tests.change_logs import examples
from gtm_assets_tests.dbt_harness import (
    CREATED,
    TABLES,
    Home,
    account,
    copied_warehouse,
    describe,
    opportunity,
    task,
    user,
)
from gtm_assets_tests.reconciliations import RECORD_RECONCILIATIONS, REPORT_RECONCILIATIONS, SOURCE_RECONCILIATIONS

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
"""Fivetran ends a version so long before the next one begins."""
SYNCED = datetime(2026, 6, 1, 12, tzinfo=UTC)


def utc(month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant of 2026."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def version(
    record: Mapping[str, object],
    start: datetime | None,
    end: datetime | None = FOREVER,
    active: bool | None = None,
    synced: datetime = SYNCED,
) -> dict[str, object]:
    """A row of history mode: active where it has no end, unless said otherwise."""
    return {
        **record,
        "_fivetran_start": start,
        "_fivetran_end": end,
        "_fivetran_active": end == FOREVER if active is None else active,
        "_fivetran_synced": synced,
    }


def load(path: Path, **tables: Iterable[Mapping[str, object]]) -> Path:
    """An external database in which each table has the given rows, in the catalogue's types."""
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("create schema gtm_raw")
        for name, rows in tables.items():
            rows = list(rows)
            names = list(dict.fromkeys(column for row in rows for column in row))
            types = {c: TABLES[name].types[c].polars for c in names if c in TABLES[name].types}
            instants = dict.fromkeys(
                ["_fivetran_start", "_fivetran_end", "_fivetran_synced"], pl.Datetime("us", "UTC")
            )
            types = {c: (types | instants | {"_fivetran_active": pl.Boolean()})[c] for c in names}
            frame = pl.DataFrame([[row.get(c) for c in names] for row in rows], schema=types, orient="row")
            connection.register("external_rows", frame.to_arrow())
            connection.execute(f"create table gtm_raw.{name} as from external_rows")
            connection.unregister("external_rows")
    return path


WON = {"stage_name": "Closed Won", "is_closed": True, "is_won": True, "forecast_category": "Closed"}


def eight_deals() -> list[dict[str, object]]:
    """Each in two versions that share one system_modstamp."""
    modified, began, won = utc(5, 10, 15), utc(4, 2, 8), utc(5, 10, 15)
    return [
        row
        for number in range(1, 9)
        for row in (
            version(opportunity(number, modified, created_date=began), began, won - MILLISECOND),
            version(opportunity(number, modified, created_date=began, close_date=date(2026, 5, 10), **WON), won),
        )
    ]


@pytest.fixture(scope="module")
def eight(tmp_path_factory) -> Home:
    folder = tmp_path_factory.mktemp("eight")
    home = Home(folder / "gtm", external=load(folder / "external.duckdb", opportunity=eight_deals())).seed()
    home.build("+fct_pipeline_snapshot", "+fct_opportunity_stage_history", "+rep_pipeline_health")
    return home


def test_a_week_that_ends_with_an_empty_pipeline_ties_to_core(eight):
    """The deals are won on a Sunday."""
    health = next(rule for rule in REPORT_RECONCILIATIONS if rule.report == "rep_pipeline_health")
    with connect(eight.path / "warehouse.duckdb") as warehouse:
        found = reconcile_with_core(warehouse, health, 0.0)

    assert found.passed, found.sentence
    assert found.figures["open_count"] == 8 * 5


def test_the_current_version_is_the_active_one_whatever_its_content(eight):
    assert eight.rows("select stage_name, is_won, count(*) from gtm_core.fct_opportunity group by all") == [
        ("Closed Won", True, 8)
    ]


def test_versions_that_share_a_modstamp_keep_their_places_by_the_loaders_interval(eight):
    assert eight.rows(
        "select stage_name, entered_at, left_at, count(*) from gtm_core.fct_opportunity_stage_history"
        " group by all order by entered_at"
    ) == [("Prospecting", utc(4, 2, 8), utc(5, 10, 15), 8), ("Closed Won", utc(5, 10, 15), None, 8)]


def test_the_days_of_deals_begin_where_the_versions_begin(eight):
    assert eight.rows(
        "select stage_name, min(date_day), max(date_day), count(*) from gtm_core.fct_opportunity_history"
        " group by all order by 2"
    ) == [
        ("Prospecting", date(2026, 4, 2), date(2026, 5, 9), 8 * 38),
        ("Closed Won", date(2026, 5, 10), date(2026, 5, 10), 8),
    ]
    assert eight.rows("select count(*), sum(opportunity_count) from gtm_core.fct_pipeline_snapshot") == [
        (38, 8 * 38)
    ]


@pytest.fixture
def spoilt(eight, tmp_path):
    """A copy of the warehouse that a test may spoil, and one of the external database."""
    external = tmp_path / "external.duckdb"
    shutil.copy(eight.external, external)
    with connect(copied_warehouse(eight.path, tmp_path), read_only=False) as connection:
        yield connection, external


DEALS = next(rule for rule in RECORD_RECONCILIATIONS if rule.core == "fct_opportunity")
TO_PROSPECTING = "update {} set stage_name = 'Prospecting' where {} like '%3'"


def test_core_shows_the_active_rows(spoilt):
    warehouse, external = spoilt

    found = reconcile_with_active_rows(warehouse, DEALS, TABLES["opportunity"], external)

    assert found.passed, found.sentence
    assert found.figures["records_compared"] == 8


@pytest.mark.parametrize(
    ("plant", "figure", "difference"),
    [
        (
            [
                TO_PROSPECTING.format("gtm_core.fct_opportunity", "opportunity_id"),
                TO_PROSPECTING.format("gtm_staging.base_salesforce__opportunity", "id"),
            ],
            "records_that_differ",
            "stage_name",
        ),
        (
            ["delete from gtm_core.fct_opportunity where opportunity_id like '%3'"],
            "records_missing_in_core",
            "missing in core",
        ),
        (
            ["update gtm_core.fct_opportunity set opportunity_id = 'x' where opportunity_id like '%3'"],
            "records_not_active",
            "not active in the external database",
        ),
    ],
)
def test_a_record_that_is_not_its_active_row_is_found_though_base_agrees(spoilt, plant, figure, difference):
    warehouse, external = spoilt
    for statement in plant:
        warehouse.execute(statement)

    found = reconcile_with_active_rows(warehouse, DEALS, TABLES["opportunity"], external)

    assert not found.passed and found.severity == dg.AssetCheckSeverity.ERROR
    assert found.figures[figure] == 1
    assert difference in [row["difference"] for row in found.sample]


def test_what_was_loaded_since_the_build_is_left_out_and_counted(spoilt):
    warehouse, external = spoilt
    with duckdb.connect(str(external)) as loader:
        loader.execute(
            "update gtm_raw.opportunity set amount = 7, _fivetran_synced = _fivetran_synced + interval 1 hour"
            " where id like '%3' and _fivetran_active"
        )

    found = reconcile_with_active_rows(warehouse, DEALS, TABLES["opportunity"], external)

    assert found.passed, found.sentence
    assert (found.figures["records_compared"], found.figures["records_loaded_since"]) == (7, 1)


def test_an_external_database_that_can_not_be_read_proves_nothing(spoilt, tmp_path):
    warehouse, _ = spoilt

    found = reconcile_with_active_rows(warehouse, DEALS, TABLES["opportunity"], tmp_path / "nowhere.duckdb")

    assert not found.passed and "nowhere.duckdb can't be read" in found.sentence


def test_an_external_table_that_is_gone_since_the_build_proves_nothing(spoilt):
    warehouse, external = spoilt
    with duckdb.connect(str(external)) as loader:
        loader.execute("drop table gtm_raw.opportunity")

    found = reconcile_with_active_rows(warehouse, DEALS, TABLES["opportunity"], external)

    assert not found.passed and "run again: gtm run" in found.sentence


def test_core_is_held_against_the_active_rows_before_anything_is_published(tmp_path, monkeypatch):
    monkeypatch.setenv("GTM_HOME", str(tmp_path))
    monkeypatch.setenv("GTM_SALESFORCE_SOURCE", "external")
    monkeypatch.setenv("GTM_EXTERNAL_DATABASE", str(tmp_path / "external.duckdb"))
    proof = built_checks(load_settings(), proofs(load_settings()))

    blocking = {spec.key: spec.blocking for spec in proof.check_specs}
    # Every table of core that a record of Salesforce is a row of.
    assert {rule.core for rule in RECORD_RECONCILIATIONS} == {
        rule.core for rule in SOURCE_RECONCILIATIONS if rule.source == "salesforce"
    }
    for rule in RECORD_RECONCILIATIONS:
        assert blocking[dg.AssetCheckKey(dg.AssetKey(["gtm_core", rule.core]), "reconciles_with_active_rows")]
    assert (
        blocking[dg.AssetCheckKey(dg.AssetKey(["salesforce", "opportunity"]), "external_tables_are_sound")]
        is False
    )


def test_a_gap_between_two_versions_is_a_deletion(tmp_path):
    accounts, deals = (
        [
            version(make(1, utc(1, 2)), utc(1, 2, 18), utc(1, 7, 18)),
            version(make(1, utc(1, 2)), utc(1, 10, 18)),
            # No gap: Fivetran's millisecond, another loader's microsecond, none, a loader's whole second.
            *(
                row
                for number, before in enumerate(
                    (MILLISECOND, MILLISECOND / 1000, 0 * MILLISECOND, timedelta(seconds=1)), 2
                )
                for row in (
                    version(make(number, utc(1, 2)), utc(1, 2, 18), utc(1, 7, 18) - before),
                    version(make(number, utc(1, 2)), utc(1, 7, 18)),
                )
            ),
        ]
        for make in (account, opportunity)
    )
    path = load(tmp_path / "external.duckdb", account=accounts, opportunity=deals)
    home = Home(tmp_path / "gtm", external=path).seed()

    home.build("+fct_pipeline_snapshot", "+dim_account")

    history = (
        "select is_deleted, valid_from, valid_to from gtm_core.dim_account_scd2 where account_name = 'Account {}'"
    )
    assert home.rows(history.format(1) + " order by valid_from") == [
        (False, CREATED, utc(1, 7, 18)),
        (True, utc(1, 7, 18), utc(1, 10, 18)),
        (False, utc(1, 10, 18), None),
    ]
    for number in (2, 3, 4, 5):
        assert home.rows(history.format(number)) == [(False, CREATED, None)]
    assert home.rows("select count(*) from gtm_core.dim_account where account_id <> 'unknown'") == [(5,)]
    open_deals = "select date_day, sum(opportunity_count) from gtm_core.fct_pipeline_snapshot group by 1"
    of_day = dict(home.rows(open_deals))
    absent = {date(2026, 1, day) for day in (7, 8, 9)}
    assert min(of_day) == date(2026, 1, 2) and max(of_day) == date(2026, 6, 1)
    assert {day for day, deals in of_day.items() if deals == 4} == absent
    assert {day for day, deals in of_day.items() if deals == 5} == of_day.keys() - absent
    assert home.rows(
        "select count(*) from gtm_core.fct_opportunity_history where opportunity_id like '%1' and date_day between"
        " date '2026-01-07' and date '2026-01-09'"
    ) == [(0,)]


# -- intervals that contradict each other -------------------------------------------------------------------------


def test_intervals_that_can_not_be_have_a_rule_and_are_told(tmp_path):
    second, fifth, ninth = (utc(1, day) for day in (2, 5, 9))
    rows = {
        "several_active": [("A", second, FOREVER, True), ("B", fifth, FOREVER, True)],
        "after_active": [("B", second, FOREVER, True), ("A", fifth, ninth, False)],
        "one_start": [("A", second, second - MILLISECOND, False), ("B", second, FOREVER, True)],
        "overlap": [("A", second, ninth, False), ("B", fifth, FOREVER, True)],
        "without_start": [("B", None, FOREVER, True)],
        "end_not_believed": [("A", fifth, second, False)],
        "active_ended": [("B", second, fifth, True)],
        "sound": [("A", second, fifth - MILLISECOND, False), ("B", fifth, FOREVER, True)],
    }
    users = [
        version(user(1, second, id=flaw, name=name, division=name, created_date=second), start, end, active)
        for flaw, versions in rows.items()
        for name, start, end, active in versions
    ]
    home = Home(tmp_path / "gtm", external=load(tmp_path / "external.duckdb", user=users))

    home.build("+stg_salesforce__user", "+dim_user_scd2")

    assert home.rows("select flaw, record_id, row_count from gtm_meta.external_flaws order by all") == [
        (flaw, flaw, 1) for flaw in sorted(rows.keys() - {"sound"})
    ]
    # Of the one whose end can't be nothing is active: it was there until it was loaded.
    assert home.rows("select user_id, user_name from gtm_staging.stg_salesforce__user order by all") == [
        (flaw, "B") for flaw in sorted(rows.keys() - {"end_not_believed"})
    ]
    assert home.rows(
        "select user_id, division, valid_from, is_deleted from gtm_core.dim_user_scd2"
        " where user_id in ('end_not_believed', 'overlap') order by user_id, valid_from"
    ) == [
        ("end_not_believed", "A", second, False),
        ("end_not_believed", "A", SYNCED, True),
        ("overlap", "A", second, False),
        ("overlap", "B", fifth, False),
    ]
    with connect(home.path / "warehouse.duckdb", read_only=False) as warehouse:
        told = next(table.flaws for table in external_tables(warehouse) if table.name == "user")
        assert len(told) == len(rows) - 1
        assert (
            "salesforce.user: 1 records, such as overlap, have versions that end after the next one starts: each "
            "counts until the next one starts"
        ) in told


def test_no_deal_is_there_before_it_was_created_and_every_day_is_in_the_calendar(tmp_path):
    """Loaders that do not know since when give the first version a start of long ago."""
    long_ago, created, won = datetime(1970, 1, 1, tzinfo=UTC), utc(4, 2, 8), utc(5, 10, 15)
    deals = [opportunity(number, won, created_date=created, close_date=date(2026, 5, 10)) for number in (1, 2, 3)]
    unknown = {**opportunity(4, won), "created_date": None}
    rows = [
        version(deals[0], long_ago, won - MILLISECOND),
        version(deals[0] | WON, won),
        version(deals[1], long_ago),
        version(deals[2], utc(3, 8, 9), utc(3, 8, 10) - MILLISECOND),
        version(deals[2] | {"stage_name": "Qualification"}, utc(3, 8, 10)),
        version(unknown, datetime(2024, 12, 30, 12, tzinfo=UTC)),
    ]
    home = Home(tmp_path / "gtm", external=load(tmp_path / "external.duckdb", opportunity=rows)).seed()

    home.build("+fct_opportunity_history", "+dim_date")

    assert home.rows(
        "select right(opportunity_id, 1), stage_name, min(date_day), max(date_day)"
        " from gtm_core.fct_opportunity_history group by all order by 1, 3"
    ) == [
        ("1", "Prospecting", date(2026, 4, 2), date(2026, 5, 9)),
        ("1", "Closed Won", date(2026, 5, 10), date(2026, 5, 10)),
        ("2", "Prospecting", date(2026, 4, 2), date(2026, 6, 1)),
        ("3", "Qualification", date(2026, 4, 2), date(2026, 6, 1)),
        ("4", "Prospecting", date(2024, 12, 30), date(2026, 6, 1)),
    ]
    assert home.rows(
        "select count(*) from gtm_core.fct_opportunity_history where date_key not in"
        " (select date_key from gtm_core.dim_date)"
    ) == [(0,)]
    assert home.rows("select flaw, right(record_id, 1) from gtm_meta.external_flaws") == [("before_creation", "3")]


# -- what lies ahead of now ---------------------------------------------------------------------------------------

LATE_EVENING = utc(6, 1, 6, 30)
"""23:30 of 31 May in Los Angeles: after the boundary of the partitions, before midnight."""
AHEAD = utc(6, 1, 8)


def without_history(record: Mapping[str, object]) -> dict[str, object]:
    return {**record, "_fivetran_synced": LATE_EVENING}


def load_ahead(path: Path) -> Path:
    """Deals in history mode, the rest without: some created, some modified after the newest load."""
    created = utc(4, 2, 8)
    deals = [opportunity(number, created, created_date=created) for number in (1, 2, 3)]
    return load(
        path,
        opportunity=[
            version(deals[0], created, synced=LATE_EVENING),
            version({**deals[1], "created_date": AHEAD}, AHEAD, synced=LATE_EVENING),
            version(deals[2], created, AHEAD - MILLISECOND, synced=LATE_EVENING),
            version({**deals[2], **WON, "close_date": date(2026, 6, 1)}, AHEAD, synced=LATE_EVENING),
        ],
        account=[
            without_history(account(1, AHEAD)),
            without_history(account(2, AHEAD, created_date=AHEAD)),
        ],
        task=[
            without_history(task(1, created, created_date=created)),
            without_history(task(2, AHEAD, created_date=AHEAD, account_id=account(2, AHEAD)["id"])),
        ],
        opportunity_field_history=[
            without_history(
                {
                    "id": "017a",
                    "opportunity_id": deals[2]["id"],
                    "field": "StageName",
                    "old_value": "Prospecting",
                    "new_value": "Closed Won",
                    "created_date": AHEAD,
                }
            )
        ],
        user=[without_history(user(1, AHEAD))],
    )


def test_what_lies_ahead_of_now_blocks_nothing_is_told_and_counts_once_now_has_reached_it(tmp_path, monkeypatch):
    home = Home(tmp_path / "gtm", external=load_ahead(tmp_path / "external.duckdb"))
    monkeypatch.setenv("GTM_HOME", str(home.path))
    monkeypatch.setenv("GTM_SALESFORCE_SOURCE", "external")
    monkeypatch.setenv("GTM_EXTERNAL_DATABASE", str(home.external))

    result = home.dbt("build", "--exclude-resource-type", "unit_test")

    assert result.success, describe(result)
    stages = "select opportunity_id[-1:], stage_name from gtm_core.fct_opportunity order by 1"
    accounts = "select account_name from gtm_core.dim_account where account_id <> 'unknown' order by 1"
    assert home.rows(stages) == [("1", "Prospecting"), ("3", "Prospecting")]
    assert home.rows(accounts) == [("Account 1",)]
    assert home.rows("select count(*) from gtm_core.fct_task") == [(1,)]
    assert home.rows("select min(date_day), max(date_day), count(*) from gtm_core.fct_opportunity_history") == [
        (date(2026, 4, 2), date(2026, 5, 31), 2 * 60)
    ]
    with connect(home.path / "warehouse.duckdb", read_only=False) as warehouse:
        found = {
            (key.asset_key.path[-1], key.name): check(warehouse, None)
            for key, check in checks_by_key(load_settings(), proofs(load_settings())).items()
        }
        assert known_as_of(warehouse) == LATE_EVENING
    failed = {key: finding.sentence for key, finding in found.items() if not finding.passed}
    assert {key[0] for key in failed} == {"account", "task", "opportunity", "opportunity_field_history", "user"}
    assert {key[1] for key in failed} == {"external_tables_are_sound"}
    told = found["opportunity", "external_tables_are_sound"]
    assert told.severity == dg.AssetCheckSeverity.WARN
    assert (told.figures["created_ahead"], told.figures["modified_ahead"]) == (1, 1)
    assert "1 records, such as 006000000000000002, were created after the newest load, 2026-06-01 06:30" in (
        told.sentence
    )
    assert [row["record_id"][-1] for row in told.sample] == ["2", "3"]

    # Any table of the external database that was loaded later brings now forward, in the catalogue or not.
    with duckdb.connect(str(home.external)) as loader:
        loader.execute(
            "create table gtm_raw.quote as select 'x' as id, timestamptz '2026-06-01 09:00+00' as _fivetran_synced"
        )
    home.build("+fct_opportunity", "+fct_task")

    assert home.rows(stages) == [("1", "Prospecting"), ("2", "Prospecting"), ("3", "Closed Won")]
    assert home.rows(accounts) == [("Account 1",), ("Account 2",)]
    assert home.rows("select count(*) from gtm_core.fct_task") == [(2,)]
    assert home.rows("select count(*) from gtm_meta.external_flaws") == [(0,)]


def test_a_table_that_is_not_read_says_when_it_was_loaded_in_whatever_type(tmp_path):
    path = load(tmp_path / "external.duckdb", user=[version(user(1, utc(1, 2)), utc(1, 2))])
    loaded = {
        "quote": "'2026-06-03T09:00:00.000Z'",
        "case": "date '2026-06-02'",
        "asset": "'soon'",
        "pricebook": "7",
        "partner": "timestamp '2026-06-01 13:00'",
    }
    with duckdb.connect(str(path)) as loader:
        for name, value in loaded.items():
            loader.execute(f'create table gtm_raw."{name}" as select \'x\' as id, {value} as "_FIVETRAN_SYNCED"')
    home = Home(tmp_path / "gtm", external=path)

    home.build("base_salesforce__user")

    assert home.rows("select now_at from gtm_meta.external_now") == [(utc(6, 3, 9),)]


# -- random histories against an oracle ---------------------------------------------------------------------------

DAY = timedelta(days=1)
STARTS = [utc(1, 2) + DAY * day + timedelta(hours=hour) for day in (0, 1, 2, 4, 7, 11) for hour in (0, 9)]
"""Few, so that rows with one start and intervals that overlap abound."""


@dataclass(frozen=True)
class Row:
    """A row of a record in history mode."""

    start: datetime
    end: datetime | None
    active: bool
    stage: str
    synced: datetime = SYNCED

    @property
    def believed_end(self) -> datetime | None:
        return self.end if self.end and self.start <= self.end <= SYNCED else None


ENDS = st.sampled_from(
    ["next"] * 6 + ["gap", "gap", "next microsecond", "next start", "overlap", "none", "before", "forever"]
)


@st.composite
def histories(draw) -> list[Row]:
    """Rows of a record, most of them as Fivetran would write them."""
    starts = sorted(draw(st.lists(st.sampled_from(STARTS), min_size=1, max_size=5)))
    how = draw(st.sampled_from(["as it should be"] * 3 + ["at random"]))
    rows = []
    for number, start in enumerate(starts):
        following = starts[number + 1] if number + 1 < len(starts) else start + 3 * DAY
        end = {
            "next": following - MILLISECOND,
            "gap": start + (following - start) / 2,
            "next microsecond": following - MILLISECOND / 1000,
            "next start": following,
            "overlap": following + 2 * DAY,
            "none": None,
            "before": start - DAY,
            "forever": FOREVER,
        }[draw(ENDS)]
        last = number + 1 == len(starts)
        active = draw(st.integers(0, 3)) > 0 and last if how == "as it should be" else draw(st.booleans())
        rows.append(
            Row(start, FOREVER if active and last else end, active, draw(st.sampled_from("ABC")), SYNCED - DAY)
        )
    # Which of two rows counts that say different things of the same interval is nobody's to say.
    told = {(row.start, row.active, row.believed_end or row.start): row for row in rows}
    return list(told.values())


def expected_history(rows: list[Row]) -> list[tuple[datetime, str | None]]:
    """What a record was from which instant on, None while it was absent: asked instant by instant."""
    last_active = max((row.start for row in rows if row.active), default=None)
    placed: dict[datetime, Row] = {}
    for row in sorted(rows, key=lambda r: (r.start, r.active, r.believed_end or r.start)):
        if row.active or last_active is None or row.start <= last_active:
            placed[row.start] = row
    starts = sorted(placed)

    def covered_until(row: Row) -> datetime:
        later = [start for start in starts if start > row.start]
        if row.active:
            return FOREVER
        return row.believed_end or (later[0] if later else row.synced)

    instants = sorted({*starts, *(covered_until(row) for row in placed.values())} - {FOREVER})
    history: list[tuple[datetime, str | None]] = []
    for instant in instants:
        begun = [placed[start] for start in starts if start <= instant]
        if not begun:
            continue
        until = max(covered_until(row) for row in begun)
        later = [start for start in starts if start > instant]
        is_there = until > instant or (bool(later) and later[0] - until <= timedelta(seconds=1))
        state = begun[-1].stage if is_there else None
        if not history or history[-1][1] != state:
            history.append((instant, state))
    return history


def test_random_histories_are_what_an_oracle_says(tmp_path):
    drawn = examples(histories(), 400, "external histories")
    rows = {f"{number:018d}": drawn[number] for number in range(len(drawn))}

    def external(name: str, column: str) -> list[dict[str, object]]:
        make = {"account": account, "opportunity": opportunity}[name]
        return [
            version(
                make(1, utc(1, 30), id=id_, created_date=created(id_), **{column: row.stage}),
                row.start,
                row.end,
                row.active,
                row.synced,
            )
            for id_ in rows
            for row in rows[id_]
        ]

    def created(id_: str) -> datetime:
        """Of every other record days before its first version, from which on its history is valid."""
        return min(row.start for row in rows[id_]) - int(id_) % 2 * 5 * DAY

    path = load(
        tmp_path / "external.duckdb",
        account=[*external("account", "name")],
        opportunity=external("opportunity", "stage_name"),
        user=[version(user(1, SYNCED), utc(1, 1))],
    )
    home = Home(tmp_path / "gtm", external=path).seed()

    home.build("+dim_account", "+fct_opportunity_history")

    found: dict[str, list] = {id_: [] for id_ in rows}
    for id_, name, gone, since in home.rows(
        "select account_id, account_name, is_deleted, valid_from from gtm_core.dim_account_scd2"
        " where account_id <> 'unknown' order by account_id, valid_from"
    ):
        found[id_].append((since, None if gone else name))
    days: dict[str, dict] = {id_: {} for id_ in rows}
    for id_, day, stage in home.rows(
        "select opportunity_id, date_day, stage_name from gtm_core.fct_opportunity_history"
    ):
        days[id_][day] = stage
    current = dict(home.rows("select account_id, account_name from gtm_core.dim_account"))
    los_angeles = ZoneInfo("America/Los_Angeles")
    for id_, versions in rows.items():
        expected = expected_history(versions)
        assert found[id_] == [(created(id_), expected[0][1]), *expected[1:]], versions
        assert current.get(id_) == expected[-1][1], versions
        # A day's end is the next midnight where the reports are read.
        of_days: dict[date, str] = {}
        day = date(2026, 1, 1)
        while day <= SYNCED.date():
            ended = datetime.combine(day + DAY, time(), los_angeles)
            states = [state for since, state in expected if since < ended]
            if states and states[-1] is not None:
                of_days[day] = states[-1]
            day += DAY
        assert days[id_] == of_days, versions
