"""Alerts: told once, to the right channel, again when it is well; and nothing that goes wrong with them does harm.

Real runs and check results on a real Dagster instance, and a real HTTP receiver. The clock is handed in.
"""

import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from gtm_assets.automation.alerts import messages, tell_after_run
from gtm_assets.automation.alerts.channels import DeliveryError, Message, deliver_by
from gtm_assets.automation.alerts.incidents import GIVEN_UP_AFTER, KEPT, Busy, Incidents
from gtm_assets.automation.alerts.matrix import (
    DEFAULT_MATRIX,
    Channel,
    Event,
    MatrixError,
    Severity,
    load_matrix,
)
from gtm_assets.automation.alerts.sensor import alerts_sensor
from gtm_assets.automation.alerts.summary import last_materialized
from gtm_assets.automation.alerts.tick import tick
from gtm_assets.engines.files import connect
from gtm_assets.errors import LakeError
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.runtime.runs import INTRADAY_TAG
from gtm_assets.settings import PROJECT_DIR, Settings, SettingsError, load_settings
from gtm_assets_tests.alert_receiver import Receiver, receiving
from gtm_assets_tests.gtm_process import SMALL, GtmHome

SECRET = "s3cr3t-t0k3n"
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
ACCOUNT, LEAD = dg.AssetKey(["salesforce", "account"]), dg.AssetKey(["salesforce", "lead"])
DIM, REPORT = dg.AssetKey(["gtm_core", "dim_account"]), dg.AssetKey(["gtm_mart", "rep_x"])
UNIQUE = dg.AssetCheckKey(DIM, "unique_dim_account_account_key")
PICKLIST = dg.AssetCheckKey(DIM, "accepted_values_dim_account_type")
SCD = dg.AssetCheckKey(DIM, "scd_integrity")
DRIFT, LATE = dg.AssetCheckKey(ACCOUNT, "schema_as_catalogued"), dg.AssetCheckKey(ACCOUNT, "landed_on_time")
LATE_LEAD, ODD = dg.AssetCheckKey(LEAD, "landed_on_time"), dg.AssetCheckKey(LEAD, "volume_as_usual")
BLOCKING = {UNIQUE, SCD}
SEVERAL = [LATE, LATE_LEAD, ODD, DRIFT]


class World:
    """A small code location like the real one, whose steps fail as told, with its alerts and the time of day."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self.instance, self.settings = instance, settings
        self.failing: dict[str, Exception] = {}
        self.failing_checks: set[dg.AssetCheckKey] = set()
        # Runs take place at the wall-clock's time; what is looked at later is asked for with a later one.
        self.now = datetime.now(UTC)
        self.repository = self._definitions().get_repository_def()

    def _definitions(self) -> dg.Definitions:
        def raw(key):
            @dg.asset(key=key, tags={"layer": "raw"})
            def ingest():
                self._perhaps_fail(key.path[-1])
                return dg.MaterializeResult(metadata={"dagster/partition_row_count": 7})

            return ingest

        @dg.multi_asset(
            name="build_models",
            specs=[
                dg.AssetSpec(DIM, deps=[ACCOUNT, LEAD], tags={"layer": "core"}, skippable=True),
                dg.AssetSpec(REPORT, deps=[DIM], tags={"layer": "mart"}, skippable=True),
            ],
            check_specs=[
                dg.AssetCheckSpec(check.name, asset=DIM, blocking=check in BLOCKING)
                for check in (UNIQUE, PICKLIST, SCD)
            ],
            can_subset=True,
        )
        def build(context):
            self._perhaps_fail("build")
            yield dg.MaterializeResult(DIM)
            for check in (UNIQUE, PICKLIST, SCD):
                yield self._result(check)
            if self.failing_checks & BLOCKING:
                raise RuntimeError("dbt build failed:\n" + "\n".join(c.name for c in self.failing_checks))
            yield dg.MaterializeResult(REPORT)

        @dg.asset(key=PUBLISHED, deps=[DIM, REPORT], tags={"layer": "published"})
        def published():
            self._perhaps_fail("published")

        def check(key):
            @dg.asset_check(asset=key.asset_key, name=key.name)
            def result():
                return self._result(key)

            return result

        @dg.op
        def compact():
            self._perhaps_fail("compact")

        @dg.job
        def maintenance():
            compact()

        raw_only = dg.AssetSelection.assets(ACCOUNT, LEAD)
        built = dg.AssetSelection.assets(DIM, REPORT, PUBLISHED)
        return dg.Definitions(
            assets=[raw(ACCOUNT), raw(LEAD), build, published],
            asset_checks=[check(key) for key in SEVERAL],
            jobs=[
                dg.define_asset_job("extract", raw_only - dg.AssetSelection.all_asset_checks()),
                dg.define_asset_job("transform", built),
                dg.define_asset_job("refresh", (raw_only | built) - dg.AssetSelection.checks(*SEVERAL)),
                maintenance,
            ],
            executor=dg.in_process_executor,
        )

    def _perhaps_fail(self, step: str) -> None:
        if step in self.failing:
            raise self.failing[step]

    def _result(self, check: dg.AssetCheckKey) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=check not in self.failing_checks,
            asset_key=check.asset_key,
            check_name=check.name,
            severity=ERROR if check in BLOCKING else WARN,
            description=f"{check.name} says so.",
        )

    def run(self, job: str, *, failing: dict[str, str] | None = None, **kwargs) -> dg.ExecuteInProcessResult:
        self.failing = {step: LakeError(text) for step, text in (failing or {}).items()}
        return self.repository.get_job(job).execute_in_process(
            instance=self.instance, raise_on_error=False, **kwargs
        )

    def evaluated(
        self, check: dg.AssetCheckKey, passed: bool, severity=ERROR, says: str = "", metadata=None
    ) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=check.asset_key,
                check_name=check.name,
                passed=passed,
                severity=severity,
                description=says or f"{check.name} of {check.asset_key.path[-1]} says so.",
                metadata=metadata or {},
            )
        )

    def tick(self, *, minutes: float = 0, **kwargs):
        self.now = max(self.now, datetime.now(UTC)) + timedelta(minutes=minutes)
        return tick(self.instance, self.repository, self.settings, self.now, **kwargs)

    def with_settings(self, **changes: str) -> None:
        matrix = str(self.settings.alert_matrix or "")
        given = {"GTM_HOME": str(self.settings.home), "GTM_ALERT_MATRIX": matrix} | {
            f"GTM_ALERT_{c.upper()}_URL": url.get_secret_value()
            for c in Channel
            if (url := getattr(self.settings, f"alert_{c}_url"))
        }
        self.settings = load_settings({k: v for k, v in (given | changes).items() if v})

    def with_matrix(self, **changes) -> None:
        """The platform's own, without daily summaries, which depend on the time of day."""
        own = yaml.safe_load(DEFAULT_MATRIX.read_text())
        own["channels"] = {channel.value: {"daily_summary": False} for channel in Channel}
        path = self.settings.home / "matrix.yml"
        path.write_text(yaml.safe_dump(own | changes))
        self.with_settings(GTM_ALERT_MATRIX=str(path))

    def incidents(self) -> Incidents:
        return Incidents(self.settings.incidents_path)


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def world(tmp_path, receiver: Receiver):
    """All three channels set; no daily summaries."""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "dagster")) as instance:
        yield make_world(instance, receiver, tmp_path / "home")


def make_world(instance: dg.DagsterInstance, receiver: Receiver, home: Path) -> World:
    home.mkdir()
    urls = {f"GTM_ALERT_{c.upper()}_URL": receiver.url(c, SECRET) for c in Channel}
    world = World(instance, load_settings({"GTM_HOME": str(home), **urls}))
    world.with_matrix()
    return world


# -- told once, and when it is well ----------------------------------------------------------------------------


def test_a_healthy_platform_is_silent(world, receiver):
    world.run("refresh")
    world.evaluated(LATE, True)

    assert world.tick().unresolved == 0
    assert receiver.asked == 0


def test_a_failed_build_is_told_once_with_what_since_when_what_waits_and_where_to_look(world, receiver):
    world.run("refresh")
    published_at = last_materialized(world.instance, PUBLISHED)
    failed = world.run("refresh", failing={"build": "salesforce.lead 2026-09-10: the batch can't be read"})

    world.tick()
    world.tick()

    assert receiver.titles("chat") == ["[critical] transform failed"]
    (body,) = receiver.bodies("chat")
    what, since, blocks, look, mend = body.splitlines()
    assert what == "What: build_models: salesforce.lead 2026-09-10: the batch can't be read"
    assert abs(datetime.strptime(since, "Since: %Y-%m-%d %H:%M UTC") - published_at.replace(tzinfo=None)) < (
        timedelta(minutes=2)
    )
    assert "gtm_core/dim_account, gtm_mart/rep_x wait." in blocks
    assert f"The published file stays as of {published_at:%Y-%m-%d %H:%M} UTC." in blocks
    assert look == f"Look: http://127.0.0.1:3000/runs/{failed.run_id}"
    assert mend == "Mend: docs/runbook.md#run-failure"
    assert receiver.types == ["failure"]


def test_its_end_is_told_to_the_channel_that_was_told(world, receiver):
    world.run("transform", failing={"build": "no"})
    world.tick()
    world.run("refresh")
    world.tick(minutes=7)
    world.tick()

    assert receiver.titles("chat") == ["[critical] transform failed", "[resolved] transform failed"]
    assert receiver.types[-1] == "success"
    assert receiver.titles("email") == receiver.titles("pager") == []


def test_a_new_failure_after_the_end_is_a_new_incident(world, receiver):
    for _ in range(2):
        world.run("transform", failing={"build": "no"})
        world.tick()
        world.run("transform")
        world.tick()

    assert [title.split("]")[0] for title in receiver.titles("chat")] == ["[critical", "[resolved"] * 2


# -- runs ------------------------------------------------------------------------------------------------------


def test_one_failed_sync_is_a_warning_and_three_in_a_row_are_critical(world, receiver):
    told = []
    for _ in range(4):
        world.run("extract", failing={"account": "the source does not answer"})
        world.tick()
        told.append(receiver.titles("chat")[len(told) :])

    assert receiver.titles("chat") == [
        "[warning] extract failed",
        "[now critical] extract failed 3 times in a row",
    ]
    assert world.tick().unresolved == 1


def test_a_success_between_failures_ends_the_row(world, receiver):
    for failing in ({"account": "no"}, {"account": "no"}, {}, {"account": "no"}, {"account": "no"}):
        world.run("extract", failing=failing)

    world.tick()

    assert receiver.titles("chat") == ["[warning] extract failed 2 times in a row"]


def test_refreshes_within_the_day_that_fail_are_warnings_until_a_run_of_the_day_fails(world, receiver):
    intraday = {INTRADAY_TAG: "2026-03-08T20:49:00+00:00"}
    for step in (*["account"] * 4, "build"):
        world.run("refresh", failing={step: "no"}, tags=intraday)
        world.tick()
    assert receiver.titles("chat") == [
        "[warning] extract failed",
        "[resolved] extract failed",
        "[warning] transform failed",
    ]

    world.run("transform", failing={"build": "no"})
    world.tick()
    assert receiver.titles("chat")[3:] == ["[now critical] transform failed 2 times in a row"]


def test_a_refresh_that_landed_its_tables_ends_the_failed_extract_even_where_it_fails_to_build(world, receiver):
    world.run("extract", failing={"account": "no"})
    world.tick()
    world.run("refresh", failing={"build": "no"})
    world.tick()

    assert receiver.titles("chat") == [
        "[warning] extract failed",
        "[resolved] extract failed",
        "[critical] transform failed",
    ]


def test_a_refresh_that_fails_to_land_is_a_failed_extract_and_leaves_the_build_out(world, receiver):
    world.run("refresh", failing={"lead": "no"})
    world.tick()

    assert receiver.titles("chat") == ["[warning] extract failed"]
    assert "gtm_core/dim_account, gtm_mart/rep_x, salesforce/lead wait." in receiver.bodies("chat")[0]


def test_success_at_another_table_does_not_end_a_failure(world, receiver):
    world.run("extract", failing={"account": "no"}, asset_selection=[ACCOUNT])
    world.tick()
    world.run("extract", asset_selection=[LEAD])
    world.tick()
    assert receiver.titles("chat") == ["[warning] extract failed"]

    world.run("extract", asset_selection=[ACCOUNT])
    world.tick()
    assert receiver.titles("chat")[-1] == "[resolved] extract failed"


def test_a_job_without_assets_is_told_by_its_name(world, receiver):
    world.run("maintenance", failing={"compact": "no room"})
    world.tick()
    world.run("maintenance")
    world.tick()

    assert receiver.titles("chat") == ["[warning] maintenance failed", "[resolved] maintenance failed"]


def test_a_killed_run_is_a_failure_of_what_it_was_to_do(world, receiver):
    run = create_run_for_test(world.instance, job_name="transform", status=DagsterRunStatus.STARTED)
    world.tick()
    assert receiver.asked == 0

    world.instance.report_run_failed(run, message="The process of this run is gone: it was killed.")
    world.tick()

    assert receiver.titles("chat") == ["[critical] transform failed"]
    assert "it was killed" in receiver.bodies("chat")[0]


def test_a_cancelled_run_says_nothing(world, receiver):
    create_run_for_test(world.instance, job_name="transform", status=DagsterRunStatus.CANCELED)

    assert world.tick().opened == 0


def test_an_incident_older_than_the_runs_that_are_read_stays_open(world, receiver, monkeypatch):
    monkeypatch.setattr("gtm_assets.automation.alerts.conditions.LOOKBACK", 2)
    world.run("transform", failing={"build": "no"})
    world.tick()
    for _ in range(3):
        world.run("maintenance")

    assert world.tick().unresolved == 1


# -- how long extraction takes ---------------------------------------------------------------------------------


def started_step(world, run, step: str) -> None:
    """A step of a run that has begun and not ended."""
    event = dg.DagsterEvent(event_type_value="STEP_START", job_name=run.job_name, step_key=step)
    world.instance.report_dagster_event(event, run.run_id)


def test_an_extraction_that_takes_longer_than_half_an_hour_is_told_while_it_runs(world, receiver):
    run = create_run_for_test(world.instance, job_name="extract", status=DagsterRunStatus.NOT_STARTED)
    world.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", "extract"), run.run_id)
    started_step(world, run, "salesforce__account")

    world.tick(minutes=29)
    assert receiver.asked == 0
    world.tick(minutes=2)
    assert receiver.titles("chat") == ["[warning] extract takes too long"]
    assert "It has taken 31 minutes; 30 are allowed" in receiver.bodies("chat")[0]

    world.instance.report_run_canceled(run)
    world.run("extract")
    world.tick()
    assert receiver.titles("chat")[-1] == "[resolved] extract takes too long"


# -- checks ----------------------------------------------------------------------------------------------------


def test_a_check_is_told_with_its_own_sentence_and_a_link_to_it(world, receiver):
    world.evaluated(UNIQUE, False, says="2 keys occur twice.")
    world.tick()
    world.evaluated(UNIQUE, True)
    world.tick()

    assert receiver.titles("chat") == [
        "[critical] gtm_core/dim_account: unique_dim_account_account_key failed",
        "[resolved] gtm_core/dim_account: unique_dim_account_account_key failed",
    ]
    body = receiver.bodies("chat")[0]
    assert "What: 2 keys occur twice." in body
    assert "Blocks: gtm_mart/rep_x waits. Nothing is published yet." in body
    assert "/assets/gtm_core/dim_account?view=checks&checkDetail=unique_dim_account_account_key" in body
    assert "docs/runbook.md#check-failure" in body


@pytest.mark.parametrize(
    ("check", "severity", "title", "section"),
    [
        (LATE, WARN, "[warning] salesforce/account: landed_on_time warned", "freshness-miss"),
        (LATE, ERROR, "[critical] salesforce/account: landed_on_time failed", "freshness-miss"),
        # Columns that came or went let the rest land: a warning, until the matrix says otherwise.
        (DRIFT, ERROR, "[warning] salesforce/account: schema_as_catalogued failed", "schema-drift"),
        (ODD, WARN, "[warning] salesforce/lead: volume_as_usual warned", "anomaly"),
        (SCD, WARN, "[critical] gtm_core/dim_account: scd_integrity warned", "check-failure"),
        (UNIQUE, WARN, "[critical] gtm_core/dim_account: unique_dim_account_account_key warned", "check-failure"),
    ],
)
def test_each_check_has_its_event_and_its_severity(world, receiver, check, severity, title, section):
    world.evaluated(check, False, severity)
    world.tick()

    assert receiver.titles("chat") == [title]
    assert f"docs/runbook.md#{section}" in receiver.bodies("chat")[0]


def test_a_known_picklist_value_is_told_to_nobody(world, receiver):
    world.evaluated(PICKLIST, False, WARN)

    assert world.tick().opened == 0


def test_a_late_table_that_gets_later_becomes_critical(world, receiver):
    world.evaluated(LATE, False, WARN)
    world.tick()
    world.evaluated(LATE, False, ERROR, says="account is 61 minutes late.")
    world.tick()
    world.tick()

    assert receiver.titles("chat") == [
        "[warning] salesforce/account: landed_on_time warned",
        "[now critical] salesforce/account: landed_on_time failed",
    ]
    assert "account is 61 minutes late." in receiver.bodies("chat")[1]
    assert "Blocks: gtm_core/dim_account, gtm_mart/rep_x, salesforce/account wait." in receiver.bodies("chat")[0]


def test_tables_that_get_later_together_are_all_named_when_they_become_critical(world, receiver):
    world.settings = world.settings.model_copy(update={"alert_failed_checks": 2})
    for check in (LATE, LATE_LEAD):
        world.evaluated(check, False, WARN)
    world.tick()
    for check in (LATE, LATE_LEAD):
        world.evaluated(check, False, ERROR, says=f"{check.asset_key.path[-1]} is 61 minutes late.")
    world.tick()

    assert receiver.titles("chat") == ["[warning] 2 checks warned", "[now critical] 2 checks failed"]
    assert "account is 61 minutes late." in receiver.bodies("chat")[1]
    assert "lead is 61 minutes late." in receiver.bodies("chat")[1]


def test_three_checks_that_fail_at_a_time_are_one_critical_incident(world, receiver):
    checks = [DRIFT, LATE, LATE_LEAD]
    for check in checks:
        world.evaluated(check, False, ERROR, says=f"{check.name} of {check.asset_key.path[-1]}.")
    world.tick()

    assert receiver.titles("chat") == ["[critical] 3 checks failed"]
    assert all(f"{check.name} of {check.asset_key.path[-1]}." in receiver.bodies("chat")[0] for check in checks)

    for check in checks:
        assert receiver.titles("chat") == ["[critical] 3 checks failed"]
        world.evaluated(check, True)
        world.tick()
    assert receiver.titles("chat")[1:] == ["[resolved] 3 checks failed"]


def test_a_digest_names_ten_and_counts_the_rest(world):
    world.evaluated(LATE, False)
    check = messages.check_lines
    from gtm_assets.automation.alerts.conditions import observe

    (late,) = observe(
        world.instance, world.repository, world.settings, load_matrix(), world.now
    ).conditions.values()

    assert check([late] * 10).count("landed_on_time") == check([late] * 12).count("landed_on_time")
    assert check([late] * 12).endswith("and 2 more")
    assert "more" not in check([late] * 10)


def test_two_that_fail_are_told_one_by_one(world, receiver):
    world.evaluated(LATE, False)
    world.evaluated(LATE_LEAD, False)
    world.tick()

    assert len(receiver.titles("chat")) == 2


def test_a_run_that_a_blocking_check_made_fail_is_one_incident(world, receiver):
    world.failing_checks = {UNIQUE}
    world.run("refresh")
    world.tick()

    assert receiver.titles("chat") == ["[critical] transform failed"]
    # What the check says, and what mends it, before what the build says.
    assert receiver.bodies("chat")[0].startswith(
        f"What: - gtm_core/dim_account: {UNIQUE.name} failed. {UNIQUE.name} says so.\nbuild_models: "
    )
    assert "gtm_mart/rep_x waits." in receiver.bodies("chat")[0]

    world.failing_checks = set()
    world.run("refresh")
    world.tick()
    assert receiver.titles("chat")[1:] == ["[resolved] transform failed"]


def test_a_check_that_was_open_before_its_run_failed_stays_an_incident_of_its_own(world, receiver):
    world.evaluated(UNIQUE, False)
    world.tick()
    world.failing_checks = {UNIQUE, SCD}
    world.run("transform")
    world.tick()

    assert receiver.titles("chat") == [
        "[critical] gtm_core/dim_account: unique_dim_account_account_key failed",
        "[critical] transform failed",
    ]
    assert world.tick().unresolved == 2


def test_a_check_of_a_run_that_is_not_over_neither_opens_nor_resolves(world, receiver):
    world.evaluated(LATE, False)
    world.tick()
    run = create_run_for_test(world.instance, job_name="refresh", status=DagsterRunStatus.STARTED)
    for check, passed in ((LATE, True), (UNIQUE, False)):
        evaluation = dg.AssetCheckEvaluation(check.asset_key, check.name, passed, metadata={})
        event = dg.DagsterEvent("ASSET_CHECK_EVALUATION", "refresh", event_specific_data=evaluation)
        world.instance.report_dagster_event(event, run.run_id)
    world.tick()
    assert len(receiver.arrived) == 1

    world.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "refresh"), run.run_id)
    world.tick()
    assert sorted(title.split()[0] for title in receiver.titles("chat")[1:]) == ["[critical]", "[resolved]"]


def test_what_a_check_lists_is_told_each_by_itself_and_of_a_notice_not_that_it_is_over(world, receiver):
    def used(*told: tuple[int, str]) -> None:
        listed = [{"key": str(n), "severity": s, "title": f"bi has used {n} %", "detail": "much"} for n, s in told]
        metadata = {"tells": dg.MetadataValue.json(listed)} if listed else {}
        world.evaluated(LATE, not told, metadata=metadata)
        world.tick()

    notices = {"freshness": {"notice": ["chat"], "warning": ["chat"], "critical": ["chat"]}}
    world.with_matrix(events=yaml.safe_load(DEFAULT_MATRIX.read_text())["events"] | notices)
    used((50, "notice"))
    used((50, "notice"), (80, "warning"))
    used((50, "notice"), (80, "warning"), (95, "critical"))
    assert receiver.titles("chat") == [
        "[notice] bi has used 50 %",
        "[warning] bi has used 80 %",
        "[critical] bi has used 95 %",
    ]
    run = create_run_for_test(world.instance, job_name="refresh", status=DagsterRunStatus.STARTED)
    evaluation = dg.AssetCheckEvaluation(LATE.asset_key, LATE.name, True, metadata={})
    event = dg.DagsterEvent("ASSET_CHECK_EVALUATION", "refresh", event_specific_data=evaluation)
    world.instance.report_dagster_event(event, run.run_id)
    world.tick()
    assert len(receiver.titles("chat")) == 3
    world.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "refresh"), run.run_id)
    assert world.tick().unresolved == 0
    assert sorted(receiver.titles("chat")[3:]) == ["[resolved] bi has used 80 %", "[resolved] bi has used 95 %"]


# -- told again ------------------------------------------------------------------------------------------------


def test_an_unresolved_critical_incident_goes_to_the_next_channel_every_half_hour_and_no_further(world, receiver):
    world.run("transform", failing={"build": "no"})
    told = []
    for minutes in (0, 29, 2, 29, 2, 31, 600):
        world.tick(minutes=minutes)
        told.append([len(receiver.titles(c)) for c in ("chat", "email", "pager")])

    assert told == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert receiver.titles("email") == ["[critical, not resolved for 31 minutes] transform failed"]

    world.run("transform")
    world.tick()
    assert {c: receiver.titles(c)[-1] for c in Channel} == dict.fromkeys(Channel, "[resolved] transform failed")


def test_a_warning_is_not_told_again(world, receiver):
    world.evaluated(LATE, False, WARN)
    for _ in range(3):
        world.tick(minutes=60)

    assert len(receiver.arrived) == 1


def test_a_channel_that_is_not_set_is_left_out_and_the_only_one_is_told_twice(world, receiver):
    world.with_settings(GTM_ALERT_CHAT_URL="", GTM_ALERT_EMAIL_URL="")
    world.run("transform", failing={"build": "no"})
    for _ in range(4):
        world.tick(minutes=31)

    assert len(receiver.titles("pager")) == 2
    assert {channel for channel, _, _ in receiver.arrived} == {"pager"}


def test_channels_of_one_step_are_told_together(world, receiver):
    events = yaml.safe_load(DEFAULT_MATRIX.read_text())["events"]
    events["run"]["critical"] = [["chat", "pager"]]
    world.with_matrix(events=events)
    world.run("transform", failing={"build": "no"})
    world.tick()

    assert receiver.titles("chat") == receiver.titles("pager") == ["[critical] transform failed"]


def test_without_any_channel_the_log_is_told(world, receiver, caplog):
    world.with_settings(GTM_ALERT_CHAT_URL="", GTM_ALERT_EMAIL_URL="", GTM_ALERT_PAGER_URL="")
    world.run("transform", failing={"build": "the batch can't be read"})
    with caplog.at_level(logging.INFO, "gtm_assets.alerts"):
        for _ in range(3):
            world.tick(minutes=31)
        world.run("transform")
        world.tick()

    said = [record.getMessage() for record in caplog.records if record.name == "gtm_assets.alerts"]
    assert [text.splitlines()[0] for text in said] == [
        "[critical] transform failed",
        "[resolved] transform failed",
    ]
    assert "the batch can't be read" in said[0]
    assert receiver.asked == 0


# -- delivery --------------------------------------------------------------------------------------------------


def test_what_is_refused_is_tried_again_with_growing_pauses_and_arrives_once(world, receiver, caplog):
    receiver.refusing = {"chat"}
    world.evaluated(LATE, False, WARN)
    asked = []
    for minutes in (0, 0.1, 0.5, 0.5, 0.5, 2):
        world.tick(minutes=minutes)
        asked.append(receiver.asked)
    # Pauses of 30, 60 and 120 seconds.
    assert asked == [1, 1, 2, 2, 3, 4]
    assert "the channel chat answered 503" in caplog.text

    receiver.refusing = set()
    world.tick(minutes=10)
    world.tick(minutes=10)
    assert receiver.titles("chat") == ["[warning] salesforce/account: landed_on_time warned"]


def test_one_channel_that_is_down_does_not_hold_up_another(world, receiver):
    receiver.refusing = {"chat"}
    world.run("transform", failing={"build": "no"})
    world.tick()
    world.tick(minutes=31)

    assert receiver.titles("chat") == []
    assert len(receiver.titles("email")) == 1


def test_the_end_is_never_told_before_the_beginning(world, receiver):
    receiver.refusing = {"chat"}
    world.evaluated(LATE, False, WARN)
    world.tick()
    receiver.refusing = set()
    world.evaluated(LATE, True)
    # The first message is tried again after half a minute; the last one waits for it.
    world.tick(minutes=0.1)
    assert receiver.titles("chat") == []

    world.tick(minutes=60)
    assert [title.split("]")[0] for title in receiver.titles("chat")] == ["[warning", "[resolved"]


def test_a_receiver_that_is_gone_raises_nothing_and_is_given_up_after_three_days(world, caplog):
    world.with_settings(GTM_ALERT_CHAT_URL=f"json://127.0.0.1:9/{SECRET}")
    world.evaluated(LATE, False, WARN)
    assert world.tick().waiting == 1
    assert world.tick(minutes=GIVEN_UP_AFTER.total_seconds() / 60 - 1).waiting == 1
    assert world.tick(minutes=61).waiting == 0

    assert "was given up: the channel chat did not answer" in caplog.text
    assert "[warning] salesforce/account: landed_on_time warned" in caplog.text
    assert SECRET not in caplog.text


def test_a_fault_in_a_delivery_is_no_fault_of_the_tick(world):
    def broken(channel, message):
        raise ZeroDivisionError(SECRET)

    world.evaluated(LATE, False, WARN)

    assert world.tick(deliver=broken).waiting == 1
    with closing(sqlite3.connect(world.settings.incidents_path)) as connection:
        assert connection.execute("select error from message").fetchall() == [("ZeroDivisionError",)]


def test_a_process_that_dies_after_sending_repeats_that_one_message_and_loses_none(world):
    class Killed(BaseException):
        pass

    reached = []

    def deliver_and_die(channel, message):
        reached.append(message.title)
        raise Killed

    world.evaluated(LATE, False, WARN)
    world.evaluated(LATE_LEAD, False, WARN)
    with pytest.raises(Killed):
        world.tick(deliver=deliver_and_die)
    world.tick(deliver=lambda channel, message: reached.append(message.title))
    world.tick(deliver=lambda channel, message: reached.append(message.title))

    assert reached == [
        "[warning] salesforce/account: landed_on_time warned",
        "[warning] salesforce/account: landed_on_time warned",
        "[warning] salesforce/lead: landed_on_time warned",
    ]


def test_a_process_that_dies_while_it_writes_tells_everything_next_time(world, receiver, monkeypatch):
    world.evaluated(LATE, False, WARN)
    with monkeypatch.context() as patch:
        patch.setattr(Incidents, "enqueue", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.tick()
    assert receiver.asked == 0

    world.tick()
    assert len(receiver.arrived) == 1


def test_two_at_once_tell_once(world, receiver):
    """The second finds the incidents held, or waits and finds that all is told."""
    world.evaluated(LATE, False, WARN)
    inside, go_on = threading.Event(), threading.Event()
    deliver = deliver_by(world.settings)

    def slowly(channel, message):
        inside.set()
        go_on.wait(10)
        deliver(channel, message)

    slow = threading.Thread(target=world.tick, kwargs={"deliver": slowly})
    slow.start()
    assert inside.wait(10)
    with pytest.raises(Busy, match=r"incidents\.sqlite"):
        tick(world.instance, world.repository, world.settings, world.now)
    threading.Timer(0.3, go_on.set).start()
    waited = tick(world.instance, world.repository, world.settings, world.now, wait_seconds=10)
    slow.join()

    assert waited.sent == 0
    assert len(receiver.arrived) == 1


HOLD = """
import sys
from contextlib import closing
from pathlib import Path
from gtm_assets.automation.alerts.incidents import Incidents

with closing(Incidents(Path(sys.argv[1]))) as incidents, incidents.held(0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_and_one_that_is_killed_keeps_nobody_out(world):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(world.settings.incidents_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Busy):
            world.tick()
        process.kill()
        process.wait()

        assert world.tick().unresolved == 0


# -- secrets ---------------------------------------------------------------------------------------------------


def test_no_url_reaches_a_log_a_record_or_an_error(tmp_path, receiver, caplog, capfd):
    with caplog.at_level(logging.DEBUG), dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        world = make_world(instance, receiver, tmp_path / "home")
        for level in (logging.getLogger("apprise"), logging.getLogger("urllib3")):
            level.setLevel(logging.DEBUG)
        world.evaluated(LATE, False, WARN)
        receiver.refusing = {"chat"}
        world.tick()
        receiver.refusing = set()
        world.tick(minutes=5)
        world.run("transform", failing={"build": "no"})
        context = dg.build_sensor_context(instance=world.instance, repository_def=world.repository)
        skipped = alerts_sensor(world.settings)(context)
        for url in (
            f"nosuch://{SECRET}",
            f"slack://{SECRET}",
            f"json://127.0.0.1:9/{SECRET}",
            f"json://{SECRET}:x/",
        ):
            world.with_settings(GTM_ALERT_PAGER_URL=url)
            with pytest.raises(DeliveryError) as failure:
                deliver_by(world.settings)("pager", Message("t", "b", "test"))
            assert SECRET not in str(failure.value)

    assert len(receiver.arrived) == 2
    said = caplog.text + "".join(capfd.readouterr()) + repr(world.settings) + str(skipped)
    assert "answered 503" in said
    assert SECRET not in said
    files = [path for path in world.settings.home.parent.rglob("*") if path.is_file()]
    assert world.settings.incidents_path in files and len(files) > 5
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_malformed_url_is_refused_without_being_shown():
    with pytest.raises(SettingsError) as refusal:
        load_settings({"GTM_ALERT_CHAT_URL": SECRET})

    assert str(refusal.value).startswith("GTM_ALERT_CHAT_URL=**********: it is not a URL. It holds: ")


# -- the daily summary -----------------------------------------------------------------------------------------


def test_the_summary_comes_once_a_day_from_its_local_time_on_to_the_channels_that_want_it(world, receiver):
    world.with_matrix(
        channels={
            "chat": {"daily_summary": True, "at": "08:00"},
            "email": {"daily_summary": False},
            "pager": {"daily_summary": True, "at": 18 * 60 + 30},
        }
    )

    def at(text: str) -> None:
        tick(world.instance, world.repository, world.settings, datetime.fromisoformat(text).astimezone(UTC))

    # 8:00 in Los Angeles is 15:00 UTC in summer, 16:00 in winter.
    for moment, chat, pager in (
        ("2099-07-01T14:59Z", 0, 0),
        ("2099-07-01T15:00Z", 1, 0),
        ("2099-07-01T23:00Z", 1, 0),
        ("2099-07-02T01:30Z", 1, 1),
        ("2099-07-02T05:00Z", 1, 1),
        ("2099-07-03T02:00Z", 2, 2),
        ("2099-12-01T15:30Z", 2, 2),
        ("2099-12-01T16:30Z", 3, 2),
    ):
        at(moment)
        assert (len(receiver.titles("chat")), len(receiver.titles("pager"))) == (chat, pager), moment
    assert receiver.titles("email") == []
    # 18:30 of the second of July is the third in UTC.
    assert receiver.titles("pager") == ["Daily summary, 2099-07-01", "Daily summary, 2099-07-02"]


def test_the_summary_says_what_the_day_was_like(world, receiver):
    world.with_matrix(channels={c.value: {"daily_summary": c == "chat", "at": "00:00"} for c in Channel})
    world.run("refresh")
    world.run("extract")
    world.run("transform", failing={"published": "the disk is full"})
    world.evaluated(LATE, False, ERROR)
    world.evaluated(ODD, False, WARN)
    world.tick()

    summary = next(body for body in receiver.bodies("chat") if body.startswith("Runs"))
    runs, rows, published, checks, *rest = summary.splitlines()
    assert runs == "Runs in 24 hours: 2 succeeded, 1 failed, 0 cancelled, 0 going on."
    assert rows == "Rows landed in 24 hours: 28 new versions."
    assert published == f"Published: {last_materialized(world.instance, PUBLISHED):%Y-%m-%d %H:%M} UTC."
    assert checks == "Checks: 3 passed, 1 warned, 1 failed, 2 not run since their table was built."
    assert rest[0] == "Open incidents: 3."
    assert any(line.startswith("- [critical] transform failed, since ") for line in rest)


# -- the matrix ------------------------------------------------------------------------------------------------


def test_the_platforms_own_matrix_is_sound_and_knows_every_event():
    matrix = load_matrix()

    assert matrix.steps[Event.RUN, Severity.CRITICAL] == ((Channel.CHAT,), (Channel.EMAIL,), (Channel.PAGER,))
    assert matrix.steps[Event.CHECK, Severity.WARNING] == ()
    assert set(messages.RUNBOOK) == set(Event)
    sections = (PROJECT_DIR / "docs" / "runbook.md").read_text().splitlines()
    for anchor in messages.RUNBOOK.values():
        assert f"## {anchor.replace('-', ' ').capitalize()}" in sections


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("events: {run: {warning: [chat], critical: [pagr]}}", "events.run.critical: 'pagr' is not a channel"),
        ("events: {run: {warnin: [chat], critical: []}}", "events.run: 'warnin' is not a severity"),
        ("events: {run: {critical: []}}", "events.run: the severity warning is missing"),
        ("events: {runs: {warning: [], critical: []}}", "events: 'runs' is not a event. There are: run, duration"),
        ("events: {runs: {warning: [], critical: []}}", "events: the event run is missing"),
        ("events: {run: {warning: chat, critical: []}}", "events.run.warning: 'chat' is not a list of channels"),
        ("events: {run: {warning: [], critical: [[]]}}", "events.run.critical: a step has no channel"),
        ("events: {run: {warning: [chat, email], critical: []}}", "events.run.warning: a warning is told once"),
        ("events: []", "events: [] is not a mapping of run"),
        ("channels: {chat: {daily_summary: maybe}}", "channels.chat.daily_summary: 'maybe' is neither"),
        ("channels: {chat: {at: noon}}", "channels.chat.at: 'noon' is not a time such as"),
        ("channels: {chat: {summary: true}}", "channels.chat: 'summary' is not a option"),
        ("channels: {fax: {}}", "channels: 'fax' is not a channel. There are: chat, email, pager"),
        ("timezone: Mars/Olympus", "timezone: 'Mars/Olympus' is not a time zone"),
        ("checks: [{name: x, event: fire}]", "checks, entry 1: 'fire' is not a event"),
        ("checks: [{name: x, failed: fatal}]", "checks, entry 1: 'fatal' is not a severity"),
        ("checks: [{event: run}]", "checks, entry 1: it has no name"),
        ("checks: [{name: x, severity: warning}]", "checks, entry 1: 'severity' is not a key"),
        ("extra: 1", "the file: 'extra' is not a key. There are: events, channels, timezone, checks"),
        ("events: {", "is not YAML"),
    ],
)
def test_a_mistake_in_the_matrix_is_named_with_the_file_and_what_may_stand_there(tmp_path, change, said):
    path = tmp_path / "mine.yml"
    try:
        path.write_text(yaml.safe_dump(yaml.safe_load(DEFAULT_MATRIX.read_text()) | yaml.safe_load(change)))
    except yaml.YAMLError:
        path.write_text(change)

    with pytest.raises(MatrixError) as refusal:
        load_matrix(path)

    assert str(path) in str(refusal.value)
    assert said in str(refusal.value)


def test_all_mistakes_in_the_matrix_are_told_at_once(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("channels: {fax: {}}\ntimezone: 7\nchecks: 3\n")

    with pytest.raises(MatrixError) as refusal:
        load_matrix(path)

    assert all(name in str(refusal.value) for name in ("events: None", "'fax'", "timezone: 7", "checks: 3"))


def test_a_missing_matrix_is_told_with_its_setting(tmp_path):
    with pytest.raises(MatrixError, match=r"gone\.yml can't be read .*GTM_ALERT_MATRIX names it"):
        load_matrix(tmp_path / "gone.yml")


def test_a_team_may_make_drift_critical(world, receiver):
    world.with_matrix(checks=[{"name": "schema_*", "event": "drift"}])
    world.evaluated(DRIFT, False, ERROR)
    world.tick()

    assert receiver.titles("chat") == ["[critical] salesforce/account: schema_as_catalogued failed"]


# -- who ticks -------------------------------------------------------------------------------------------------


def test_the_sensor_runs_by_default_starts_nothing_and_says_what_it_did(world, receiver):
    sensor = alerts_sensor(world.settings)
    world.evaluated(LATE, False, WARN)
    context = dg.build_sensor_context(instance=world.instance, repository_def=world.repository)
    skipped, nothing_new = sensor(context), sensor(context)

    [observation] = skipped.asset_events
    assert observation.asset_key == dg.AssetKey(["operations", "alerts"])
    assert {name: observation.metadata[name].value for name in ("open", "new", "messages_sent")} == {
        "open": 1,
        "new": 1,
        "messages_sent": 1,
    }
    [shown] = observation.metadata["incidents"].records
    assert shown.data["what"] == "salesforce/account: landed_on_time warned"
    assert nothing_new.asset_events == []
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30
    assert skipped.skip_reason.skip_message.startswith(
        "1 incidents are open: 1 new, 0 resolved just now. 1 messages sent, 0 "
    )
    assert receiver.titles("chat") == ["[warning] salesforce/account: landed_on_time warned"]


def test_after_a_run_whatever_goes_wrong_is_said_and_not_raised(world, tmp_path):
    said = []
    code_location = SimpleNamespace(get_repository_def=lambda: world.repository)
    world.with_settings(GTM_ALERT_MATRIX=str(world.settings.home / "gone.yml"))
    with dg.instance_for_test(temp_dir=str(tmp_path / "dagster")):
        tell_after_run(world.settings, lambda: code_location, said.append)

    assert len(said) == 1
    assert said[0].startswith("Alerts were not told (MatrixError): ")


def test_after_a_run_nothing_is_done_where_no_channel_is_set(world):
    world.with_settings(GTM_ALERT_CHAT_URL="", GTM_ALERT_EMAIL_URL="", GTM_ALERT_PAGER_URL="")
    tell_after_run(world.settings, pytest.fail, pytest.fail)

    assert not world.settings.incidents_path.exists()


def test_what_was_over_long_ago_is_forgotten_and_what_is_open_is_not(world, receiver):
    world.evaluated(LATE, False, WARN)
    world.evaluated(LATE_LEAD, False, WARN)
    world.tick()
    world.evaluated(LATE, True)
    world.tick()
    world.tick(minutes=KEPT.total_seconds() / 60 + 60)

    with closing(sqlite3.connect(world.settings.incidents_path)) as connection:
        counts = [connection.execute(f"select count(*) from {t}").fetchone()[0] for t in ("incident", "member")]
    assert counts == [1, 1]
    assert world.tick().unresolved == 1


@pytest.mark.nightly
def test_a_gtm_run_that_fails_keeps_what_was_published_tells_so_and_leaves_no_secret_behind(
    built_home, tmp_path, receiver
):
    shutil.copytree(built_home.path, tmp_path / "gtm")
    urls = {
        "GTM_ALERT_CHAT_URL": receiver.url("chat", SECRET),
        "GTM_ALERT_EMAIL_URL": f"json://127.0.0.1:9/{SECRET}",
    }
    home = GtmHome(tmp_path / "gtm", tuple((SMALL | urls).items()))
    published = home.published.read_bytes()
    with connect(home.warehouse, read_only=False) as connection:
        # A user that is in the dimension's parent twice: only a fault in a model can do this.
        connection.execute(
            "insert into gtm_staging.base_salesforce__user select * from gtm_staging.base_salesforce__user limit 1"
        )

    failed = home.run()
    tested = home.in_process("alerts", "test")
    listed = home.in_process("alerts", "list").check()

    assert failed.code == 1
    assert "primary_key_base_salesforce__user_id. Keys against it: 1. id is unique" in failed.output
    assert "nothing new" in failed.output
    assert home.published.read_bytes() == published
    critical, test = (text for text in receiver.titles("chat") if not text.startswith("Daily"))
    assert (critical, test) == ("[critical] transform failed", "[test] gtm alerts test")
    body = next(text for text in receiver.bodies("chat") if text.startswith("What"))
    assert "primary_key_base_salesforce__user_id" in body
    assert "The published file stays as of " in body
    assert tested.code == 1
    assert "chat: delivered" in tested.output
    assert "email: not delivered: the channel email did not answer" in tested.output
    assert "pager: not set (GTM_ALERT_PAGER_URL)" in tested.output
    assert "transform failed" in listed.output
    assert SECRET not in failed.output + tested.output + listed.output
    files = [path for path in home.path.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
