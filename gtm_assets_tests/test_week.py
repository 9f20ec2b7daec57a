"""A week of the platform, with the change to summer time in it: each evening something else goes wrong.

Dagster's own scheduler and sensors drive it (:mod:`gtm_assets_tests.daemon`), dbt builds it, and a receiver on
this machine gets what is told. Volumes and shares are judged after two weeks only: ``test_anomalies.py`` has them.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest import mock

import dagster as dg
import duckdb
import polars as pl
import pytest
from dagster import DagsterRunStatus

from gtm_assets.automation import jobs
from gtm_assets.automation.alerts.matrix import Channel
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks.raw import VANISHED, still_there
from gtm_assets.checks.service_levels import ASSET_KEY as SERVICE_LEVELS
from gtm_assets.dbt.assets import DbtBuild
from gtm_assets.errors import CredentialsRefused, NotReadable, SourceUnavailable
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, Window
from gtm_assets.runtime.instance import PROCESS_TAG
from gtm_assets.runtime.retries import REPEATED_WHEN_KILLED
from gtm_assets.settings import Settings, load_settings
from gtm_assets.sources.raw_asset import asset_key
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets_tests.alert_receiver import Receiver, receiving
from gtm_assets_tests.daemon import Daemon, daemon, la

pytestmark = pytest.mark.nightly

TABLES = {table.name: table for table in OBJECTS}
Pages = Iterator[pl.DataFrame]
Trouble = Callable[[RawTable, Window, Pages], Pages]
"""What becomes of the pages that the organisation returns of a table."""


class TroubledOrg:
    """The synthetic organisation, with trouble where a test plants it."""

    def __init__(self, org: SyntheticOrg) -> None:
        self._org = org
        self.troubles: dict[str, Trouble] = {}
        """By table name."""
        self.asked: list[tuple[str, str]] = []
        """Table and partition of each extraction, repeats included."""

    def changes(self, table, window: Window) -> Pages:
        self.asked.append((table.name, window.key))
        pages = self.healthy(table, window)
        trouble = self.troubles.get(table.name)
        return trouble(table, window, pages) if trouble else pages

    def healthy(self, table, window: Window) -> Pages:
        """What it returns where nothing is wrong."""
        return self._org.changes(table, window)

    def __getattr__(self, name: str):
        return getattr(self._org, name)


def raises(make: Callable[[RawTable], Exception], times: int = 1_000_000) -> Trouble:
    """The table can't be had, so many times."""
    left = iter(range(times))

    def trouble(table: RawTable, _: Window, pages: Pages) -> Pages:
        if next(left, None) is not None:
            raise make(table)
        return pages

    return trouble


def with_text_for_a_boolean(_: RawTable, __: Window, pages: Pages) -> Pages:
    return (page.with_columns(pl.lit("maybe").alias("has_opted_out_of_email")) for page in pages)


def without_the_subject(_: RawTable, __: Window, pages: Pages) -> Pages:
    return (page.drop("subject") for page in pages)


class Week:
    """What a test sees of the platform, and where it reaches into it."""

    def __init__(self, d: Daemon, org: TroubledOrg, receiver: Receiver, settings: Settings) -> None:
        self._d, self.org, self._receiver, self.settings = d, org, receiver, settings
        self._told = 0
        self.core_is_corrupted = False

    # -- time ----------------------------------------------------------------------------------------------------

    def at(self, day: int, hour: int, minute: int) -> list[str]:
        """The runs that began then, each as job, partition, how many tables where not all, and how it ended."""
        runs = self._d.at(la(2026, 3, day, hour, minute))
        # Sensors look in turn: what one of them found, alerts may only see a minute later.
        runs += self._d.at(self._d.now + timedelta(minutes=1))
        return [_described(run) for run in runs]

    @contextmanager
    def standing_still(self) -> Iterator[dg.DagsterInstance]:
        with self._d.standing_still():
            yield self._d.instance

    # -- what is to be seen --------------------------------------------------------------------------------------

    def told(self) -> list[str]:
        """What the receiver got since the last time: channel and title."""
        new = self._receiver.arrived[self._told :]
        self._told += len(new)
        return [f"{channel}: {title}" for channel, title, _ in new]

    def body(self, title: str) -> str:
        """What the newest message with this title says."""
        return next(body for _, t, body in reversed(self._receiver.arrived) if t == title)

    def not_passed(self) -> dict[str, str]:
        """Severity by check whose newest result did not pass."""
        graph = self._d.repository.asset_graph
        records = self._d.instance.event_log_storage.get_latest_asset_check_execution_by_key(
            sorted(graph.asset_check_keys)
        )
        return {
            f"{key.asset_key.to_user_string()} {key.name}": record.evaluation.severity.value
            for key, record in records.items()
            if isinstance(record.evaluation, dg.AssetCheckEvaluation) and not record.evaluation.passed
        }

    def skipped_because(self, sensor: str) -> str:
        return self._d.ticks(sensor)[-1].skip_reason

    def figures(self, asset: dg.AssetKey) -> dict[str, object]:
        """The metadata of an asset's newest materialization."""
        event = self._d.instance.get_latest_materialization_event(asset)
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    def published(self) -> str:
        """A digest of the published file, byte for byte."""
        return hashlib.md5(self.settings.published_path.read_bytes()).hexdigest()

    def read(self, query: str) -> list[tuple]:
        """Rows of the published file."""
        with duckdb.connect(str(self.settings.published_path), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(query).fetchall()

    # -- where it reaches in -------------------------------------------------------------------------------------

    def kill_a_run(self, partition: str, table: RawTable) -> str:
        """Leave behind what a run leaves whose process was killed while it landed a table. Returns its id."""
        (location,) = self._d.workspace.create_request_context().code_locations
        (repository,) = location.get_repositories().values()
        known = repository.get_full_job(jobs.EXTRACT)
        only = frozenset({asset_key(table)})
        with self.standing_still() as instance:
            run = instance.create_run_for_job(
                self._d.repository.get_job(jobs.EXTRACT).get_subset(asset_selection=only),
                status=DagsterRunStatus.STARTED,
                tags={
                    PROCESS_TAG: f"{socket.gethostname()}/4194305/1",
                    "dagster/partition": partition,
                    **REPEATED_WHEN_KILLED,
                },
                remote_job_origin=known.get_remote_origin(),
                job_code_origin=known.get_python_origin(),
                asset_selection=only,
            )
        return run.run_id

    def forget(self, table: RawTable) -> None:
        """What `gtm source forget` does."""
        lake = Lake(self.settings.lake_dir)
        with self.standing_still() as instance:
            lake.forget(table, self._d.now)
            check = dg.AssetCheckKey(asset_key(table), VANISHED)
            instance.report_runless_asset_event(still_there(lake, table).evaluation(check))

    def status(self, run_id: str) -> DagsterRunStatus:
        return self._d.instance.get_run_by_id(run_id).status

    def build(self, original: Callable, dbt_build: DbtBuild, *args, **kwargs) -> Iterator:
        """dbt's build; afterwards, where the test wants it, a deal is missing in core."""
        yield from original(dbt_build, *args, **kwargs)
        if self.core_is_corrupted:
            with duckdb.connect(str(self.settings.warehouse_path)) as connection:
                connection.execute(
                    "delete from gtm_core.fct_opportunity"
                    " where opportunity_id = (select min(opportunity_id) from gtm_core.fct_opportunity)"
                )


def _described(run: dg.DagsterRun) -> str:
    tags = run.tags
    partition = tags.get("dagster/partition") or tags.get("dagster/asset_partition_range_start")
    tables = len(run.asset_selection or ())
    ended = {DagsterRunStatus.SUCCESS: "ok", DagsterRunStatus.FAILURE: "failed"}[run.status]
    words = [run.job_name, partition, f"of {tables}" if tables else None, ended]
    return " ".join(word for word in words if word)


@pytest.fixture
def week(tmp_path, monkeypatch) -> Iterator[Week]:
    made: list[TroubledOrg] = []

    def org(seed: int, scale: float) -> TroubledOrg:
        made.append(TroubledOrg(SyntheticOrg(seed, scale)))
        return made[-1]

    monkeypatch.setattr("gtm_assets.sources.salesforce.synthetic.SyntheticOrg", org)
    with receiving() as receiver:
        settings = load_settings(
            {
                "GTM_HOME": str(tmp_path / "gtm"),
                "GTM_START_DATE": "2026-03-03",
                "GTM_END_DATE": "open",
                "GTM_SYNTHETIC_SCALE": "0.001",
                "GTM_RETRY_SECONDS": "0",
                **{f"GTM_ALERT_{name.upper()}_URL": receiver.url(name) for name in Channel},
            }
        )
        with daemon(settings, began=la(2026, 3, 4, 12)) as d:
            seen = Week(d, made[-1], receiver, settings)
            original = DbtBuild.run
            with mock.patch.object(DbtBuild, "run", lambda *args, **kwargs: seen.build(original, *args, **kwargs)):
                yield seen


def test_a_week_in_which_something_else_goes_wrong_each_evening(week):
    usual = _wednesday_all_is_well(week)
    _thursday_a_killed_run_and_a_table_that_we_may_not_read(week, usual)
    _friday_a_type_changes_and_nothing_is_built(week, usual)
    _sunday_a_missed_day_is_caught_up_across_the_change_to_summer_time(week, usual)
    _monday_core_is_corrupted_and_the_file_stays(week, usual)
    _tuesday_a_table_is_down_and_another_lost_a_column(week, usual)
    _wednesday_our_credentials_are_refused(week, usual)
    _the_service_level_names_the_days_that_missed(week)


def _wednesday_all_is_well(week: Week) -> dict[str, str]:
    assert week.at(4, 21, 49) == ["extract 2026-03-03 ok"]
    assert week.at(4, 22, 0) == ["transform ok"]
    assert week.at(4, 23, 30) == ["measure ok"]

    assert week.told() == ["chat: Daily summary, 2026-03-04"]
    assert week.read("select last_partition, as_of from gtm_meta.publication") == [
        ("2026-03-03", Calendar.of(week.settings).window("2026-03-03").end)
    ]
    # The made-up organisation is untidy: such tests warn, and nobody is told.
    usual = week.not_passed()
    assert set(usual.values()) == {"WARN"}
    return usual


def _thursday_a_killed_run_and_a_table_that_we_may_not_read(week: Week, usual: dict[str, str]) -> None:
    killed = week.kill_a_run("2026-03-03", TABLES["account"])
    assert week.at(5, 12, 0) == ["extract 2026-03-03 of 1 ok"]
    assert week.status(killed) == DagsterRunStatus.FAILURE
    assert week.told() == [
        "chat: [warning] extract failed",
        "chat: Daily summary, 2026-03-05",
        "chat: [resolved] extract failed",
    ]
    assert "The process of this run is gone" in week.body("[warning] extract failed")

    refused = "sObject type 'Lead' is not supported."
    week.org.troubles = {
        "lead": raises(lambda table: NotReadable(table, refused)),
        "account": raises(lambda _: ConnectionError("connection reset by peer"), times=1),
    }
    assert week.at(5, 21, 49) == ["extract 2026-03-04 failed"]
    assert week.org.asked.count(("account", "2026-03-04")) == 2
    # It had records: nothing is built without them, unless its owner says that it is gone.
    assert "salesforce/lead: table_has_not_vanished" in week.body("[critical] extract failed")
    assert week.at(5, 21, 59) == []
    assert "1 blocking checks of raw tables failed: salesforce/lead table_has_not_vanished" in (
        week.skipped_because("transform_when_landed")
    )
    week.forget(TABLES["lead"])
    assert week.at(5, 22, 1) == ["transform ok"]
    assert week.at(5, 22, 25) == []
    # It is asked for again after an hour, and then with growing pauses.
    assert week.at(5, 22, 50) == ["extract 2026-03-04 of 1 ok"]
    assert sorted(week.at(5, 23, 30)) == ["extract 2026-03-04 of 1 ok", "measure ok"]

    assert week.told() == [
        "chat: [critical] extract failed",
        "chat: [critical] salesforce/lead: table_is_readable failed",
        "email: [critical, not resolved for 36 minutes] extract failed",
        "email: [critical, not resolved for 36 minutes] salesforce/lead: table_is_readable failed",
        "chat: [resolved] extract failed",
        "email: [resolved] extract failed",
    ]
    assert week.not_passed() == usual | {"salesforce/lead table_is_readable": "ERROR"}
    assert week.read("from gtm_meta.unreadable_tables") == [("salesforce", "lead", refused)]
    assert week.read("select last_partition from gtm_meta.publication") == [("2026-03-04",)]


def _friday_a_type_changes_and_nothing_is_built(week: Week, usual: dict[str, str]) -> None:
    published = week.published()
    week.org.troubles = {"contact": with_text_for_a_boolean}

    # We may read leads again: what they owe is landed beside the new day.
    assert week.at(6, 21, 49) == ["extract 2026-03-05 failed", "extract 2026-03-04 of 1 ok"]
    assert week.told() == [
        "chat: [resolved] salesforce/lead: table_is_readable failed",
        "email: [resolved] salesforce/lead: table_is_readable failed",
        "chat: [critical] extract failed",
        "chat: [warning] salesforce/contact: schema_as_catalogued failed",
        "chat: Daily summary, 2026-03-06",
    ]
    assert "salesforce/contact: nothing_in_quarantine" in week.body("[critical] extract failed")
    assert week.at(6, 22, 0) == []
    assert "1 blocking checks of raw tables failed: salesforce/contact nothing_in_quarantine" in (
        week.skipped_because("transform_when_landed")
    )
    assert week.not_passed() == usual | {
        "salesforce/contact nothing_in_quarantine": "ERROR",
        "salesforce/contact schema_as_catalogued": "ERROR",
    }

    assert week.at(6, 22, 21) + week.at(6, 22, 51) + week.at(6, 23, 4) + week.at(6, 23, 19) == []
    assert week.at(6, 23, 30) == ["measure ok"]
    assert week.at(7, 0, 5) + week.at(7, 0, 35) == []
    assert week.told() == [
        "email: [critical, not resolved for 32 minutes] extract failed",
        "pager: [critical, not resolved for 62 minutes] extract failed",
        "chat: [warning] published/gtm: published_on_time warned",
        "chat: [now critical] published/gtm: published_on_time failed",
        "chat: [critical] operations/service_levels: service_level_met failed",
        "email: [critical, not resolved for 61 minutes] published/gtm: published_on_time failed",
        "email: [critical, not resolved for 35 minutes] operations/service_levels: service_level_met failed",
        "pager: [critical, not resolved for 91 minutes] published/gtm: published_on_time failed",
    ]
    assert week.published() == published


def _sunday_a_missed_day_is_caught_up_across_the_change_to_summer_time(week: Week, usual: dict[str, str]) -> None:
    """The machine was off since Saturday's first hour. The contacts of Friday are mended at the source."""
    friday = Calendar.of(week.settings).window("2026-03-05")

    def mended(table: RawTable, window: Window, pages: Pages) -> Pages:
        if window.key == "2026-03-06":
            yield from week.org.healthy(table, friday)
        yield from pages

    week.org.troubles = {"contact": mended}
    # The schedule lands the newest day, in which the contacts are not mended yet, and the sensor the missed one.
    assert week.at(8, 21, 49) == ["extract 2026-03-07 failed", "measure ok", "extract 2026-03-06 of 31 ok"]
    assert week.at(8, 22, 0) == ["transform ok"]
    assert week.at(8, 22, 30) == ["full_extraction 2026-03-07 ok"]
    assert week.at(8, 23, 30) == ["measure ok"]
    assert week.told() == [
        *(f"{channel}: [resolved] extract failed" for channel in Channel),
        "chat: [resolved] salesforce/contact: schema_as_catalogued failed",
        "chat: Daily summary, 2026-03-08",
        *(f"{channel}: [resolved] published/gtm: published_on_time failed" for channel in Channel),
    ]
    # What waits in quarantine has landed since, mended: it warns and stops nothing.
    assert week.not_passed() == usual | {
        "operations/service_levels service_level_met": "ERROR",
        "salesforce/contact nothing_in_quarantine": "WARN",
    }
    calendar = Calendar.of(week.settings)
    end = calendar.window("2026-03-07").end
    assert end - calendar.window("2026-03-06").end == timedelta(hours=23)
    assert week.read("select last_partition, partition_count, as_of from gtm_meta.publication") == [
        ("2026-03-07", 5, end)
    ]


def _monday_core_is_corrupted_and_the_file_stays(week: Week, usual: dict[str, str]) -> None:
    published = week.published()
    week.core_is_corrupted = True
    assert week.at(9, 21, 49) == ["extract 2026-03-08 ok"]
    assert week.at(9, 22, 0) == ["transform failed"]
    # The same content is not built again by itself.
    assert week.at(9, 22, 31) + week.at(9, 23, 5) + week.at(9, 23, 20) == []
    assert week.at(9, 23, 30) == ["measure ok"]
    week.core_is_corrupted = False

    assert week.told() == [
        "chat: Daily summary, 2026-03-09",
        "chat: [critical] transform failed",
        "email: [critical, not resolved for 31 minutes] transform failed",
        "pager: [critical, not resolved for 65 minutes] transform failed",
        "chat: [warning] published/gtm: published_on_time warned",
        "chat: [now critical] published/gtm: published_on_time failed",
    ]
    said = week.body("[critical] transform failed")
    assert "gtm_core/fct_opportunity: reconciles_with_source" in said
    assert "The published file stays as of 2026-03-09 05:30 UTC." in said
    assert week.not_passed() == usual | {
        "gtm_core/fct_opportunity reconciles_with_source": "ERROR",
        "gtm_mart/rep_daily_activity reconciles_with_core": "ERROR",
        "gtm_mart/rep_executive_summary reconciles_with_core": "ERROR",
        "gtm_mart/rep_owner_performance reconciles_with_core": "ERROR",
        "operations/service_levels service_level_met": "ERROR",
        "published/gtm published_on_time": "ERROR",
        "salesforce/contact nothing_in_quarantine": "WARN",
    }
    assert week.published() == published


def _tuesday_a_table_is_down_and_another_lost_a_column(week: Week, usual: dict[str, str]) -> None:
    published = week.published()
    week.org.troubles = {
        "opportunity": raises(lambda _: SourceUnavailable("503 Service Unavailable: try later")),
        "task": without_the_subject,
    }
    assert week.at(10, 21, 49) == ["extract 2026-03-09 failed"]
    assert week.org.asked.count(("opportunity", "2026-03-09")) == 3
    assert week.at(10, 22, 0) == []
    assert "waits for 1 of 31 tables: opportunity" in week.skipped_because("transform_when_landed")
    assert week.at(10, 22, 19) == []
    assert week.at(10, 22, 49) == ["extract 2026-03-09 of 1 failed"]
    assert week.told() == [
        "email: [critical, not resolved for 22 hours] published/gtm: published_on_time failed",
        "chat: [warning] extract failed",
        "chat: [warning] salesforce/task: schema_as_catalogued failed",
        "chat: Daily summary, 2026-03-10",
        "pager: [critical, not resolved for 23 hours] published/gtm: published_on_time failed",
        "chat: [warning] salesforce/opportunity: landed_on_time warned",
        "chat: [now critical] salesforce/opportunity: landed_on_time failed",
    ]
    assert "503 Service Unavailable" in week.body("[warning] extract failed")
    assert week.published() == published

    del week.org.troubles["opportunity"]
    assert week.at(10, 23, 5) == ["extract 2026-03-09 of 1 ok", "transform ok"]
    assert week.at(10, 23, 30) == ["measure ok"]
    # Core was built anew, so Monday's incidents end here too. The lost column stopped nothing and was told once.
    assert week.told() == [
        *(f"{channel}: [resolved] transform failed" for channel in Channel),
        "chat: [resolved] extract failed",
        "chat: [resolved] salesforce/opportunity: landed_on_time failed",
        *(f"{channel}: [resolved] published/gtm: published_on_time failed" for channel in Channel),
    ]
    assert week.not_passed() == usual | {
        "operations/service_levels service_level_met": "ERROR",
        "salesforce/contact nothing_in_quarantine": "WARN",
        "salesforce/task schema_as_catalogued": "ERROR",
    }
    assert week.read("select last_partition from gtm_meta.publication") == [("2026-03-09",)]


def _wednesday_our_credentials_are_refused(week: Week, usual: dict[str, str]) -> None:
    published = week.published()
    refused = raises(lambda _: CredentialsRefused("INVALID_LOGIN: user locked out"))
    week.org.troubles = dict.fromkeys(TABLES, refused)
    assert week.at(11, 21, 49) == ["extract 2026-03-10 failed"]
    assert week.org.asked.count(("account", "2026-03-10")) == 1
    assert week.at(11, 22, 0) + week.at(11, 22, 19) == []
    assert week.at(11, 22, 49) == ["extract 2026-03-10 of 25 failed"]
    assert week.at(11, 23, 5) == ["extract 2026-03-10 of 25 failed"]
    assert week.at(11, 23, 20) == []
    assert week.told() == [
        "chat: [warning] extract failed",
        "chat: Daily summary, 2026-03-11",
        "chat: [warning] 25 checks warned",
        "chat: [now critical] 25 checks failed",
        "chat: [now critical] extract failed 3 times in a row",
        "chat: [warning] published/gtm: published_on_time warned",
        "email: [critical, not resolved for 61 minutes] 25 checks failed",
        "chat: [now critical] published/gtm: published_on_time failed",
    ]
    assert "INVALID_LOGIN: user locked out" in week.body("[now critical] extract failed 3 times in a row")
    assert week.published() == published

    week.org.troubles = {}
    assert week.at(11, 23, 37) == ["measure ok", "extract 2026-03-10 of 25 ok", "transform ok"]
    assert week.told() == [
        "chat: [resolved] salesforce/task: schema_as_catalogued failed",
        "chat: [resolved] extract failed 3 times in a row",
        *(f"{channel}: [resolved] 25 checks failed" for channel in (Channel.CHAT, Channel.EMAIL)),
        "chat: [resolved] published/gtm: published_on_time failed",
    ]
    assert week.not_passed() == usual | {
        "operations/service_levels service_level_met": "ERROR",
        "salesforce/contact nothing_in_quarantine": "WARN",
    }
    assert week.read("select last_partition from gtm_meta.publication") == [("2026-03-10",)]


def _the_service_level_names_the_days_that_missed(week: Week) -> None:
    figures = week.figures(SERVICE_LEVELS)
    all_tables = "pipedrive.activity, pipedrive.activity_types, pipedrive.deal_changes and 28 more landed late"
    of_salesforce = "salesforce.account, salesforce.account_history, salesforce.campaign and 22 more landed late"
    assert {row.data["day"]: row.data["missed because"] for row in figures["sample"].records} == {
        "2026-03-05": "published late",
        "2026-03-06": all_tables,
        "2026-03-08": "published late",
        "2026-03-09": "salesforce.opportunity landed late",
        "2026-03-10": of_salesforce,
    }
    assert (figures["days_judged"], figures["transformations"]) == (8, 6)
    assert figures["transformations_succeeded_share"] == pytest.approx(5 / 6)
