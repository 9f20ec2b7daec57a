"""`gtm dev` left alone: its daemon lands the days, outlives a killed worker, builds, publishes and backfills."""

import re
import shutil
import time
from dataclasses import replace

import psutil
import pytest

from gtm_assets.lake.store import Lake
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets_tests.browser import PATIENCE, Server, free_port
from gtm_assets_tests.gtm_process import GTM, PROJECT, GtmHome

pytestmark = pytest.mark.nightly

DAYS = ["2026-09-09", "2026-09-10", "2026-09-11"]
RUNS = """query($filter: RunsFilter) { runsOrError(filter: $filter) {
    ... on Runs { results { runId status parentRunId jobName
        assetSelection { path } tags { key value }
        eventConnection { events { __typename ... on MessageEvent { message } } } } } } }"""
SENSORS = """{ sensorsOrError(repositorySelector: {
    repositoryLocationName: "gtm_assets", repositoryName: "__repository__" }) {
    ... on Sensors { results { name sensorState { id selectorId status } } } } }"""
START = """mutation($name: String!) { startSensor(sensorSelector: { repositoryLocationName: "gtm_assets",
    repositoryName: "__repository__", sensorName: $name }) { __typename ... on PythonError { message } } }"""
STOP = "mutation($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }"
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status numPartitions error { message } } } }"""


LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
HEALTH = "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } } }"


def until(what, server: Server, seconds: float = 2 * PATIENCE):
    """The first answer of ``what`` that is not empty."""
    began = time.monotonic()
    while not (found := what()):
        assert time.monotonic() - began < seconds, f"waited {seconds} s in vain\n{server.log.read_text()}"
        time.sleep(0.5)
    return found


def runs(server: Server, job: str, *statuses: str) -> list[dict]:
    """The runs of a job, newest first."""
    wanted = {"pipelineName": job, **({"statuses": list(statuses)} if statuses else {})}
    return server.ask(RUNS, filter=wanted)["runsOrError"]["results"]


def switch(server: Server, mutation: str, *names: str) -> None:
    """Start or stop sensors as the UI's switch does."""
    states = {s["name"]: s["sensorState"] for s in server.ask(SENSORS)["sensorsOrError"]["results"]}
    for name in names:
        variables = {"name": name} if mutation == START else {"id": states[name]["id"]}
        answer = next(iter(server.ask(mutation, **variables).values()))
        assert "Error" not in answer["__typename"], answer


def worker_of(run: dict) -> int | None:
    """Process that works on a run, by its own word."""
    said = (re.search(r"pid: (\d+)", event.get("message") or "") for event in run["eventConnection"]["events"])
    return next((int(pid[1]) for pid in said if pid), None)


def test_the_daemon_lands_repeats_what_was_killed_builds_publishes_and_backfills(tmp_path):
    home = GtmHome(tmp_path / "gtm")
    lake = Lake(home.path / "lake")
    server = Server(home, free_port(), tmp_path / "dev.log").start()
    try:
        # On a calendar that has an end nothing runs by itself until somebody switches it on.
        status = {s["name"]: s["sensorState"]["status"] for s in server.ask(SENSORS)["sensorsOrError"]["results"]}
        assert status["catch_up"] == status["transform_when_landed"] == "STOPPED"
        switch(server, START, "catch_up", "transform_when_landed")

        def working():
            found = [run for run in runs(server, "extract", "STARTED") if worker_of(run)]
            return found and any(lake.partitions(table) for table in OBJECTS) and found[0]

        killed = until(working, server)
        psutil.Process(worker_of(killed)).kill()

        again = until(lambda: [r for r in runs(server, "extract") if r["parentRunId"] == killed["runId"]], server)
        server.wait_for_run(again[0]["runId"], "SUCCESS")
        assert server.run_status(killed["runId"]) == "FAILURE"
        assert {table.name: lake.partitions(table) for table in OBJECTS} == {t.name: DAYS for t in OBJECTS}
        for table in OBJECTS:
            versions = lake.read(table).select("_version_hash").collect()
            assert versions.is_unique().all(), table.name

        until(home.published.exists, server)
        [built] = runs(server, "transform")
        server.wait_for_run(built["runId"], "SUCCESS")

        switch(server, STOP, "catch_up", "transform_when_landed")
        files = home.lake_files()
        asked = {
            "partitionNames": DAYS,
            "assetSelection": [{"path": ["salesforce", table.name]} for table in OBJECTS],
            "title": "All days again",
        }
        backfill = server.ask(BACKFILL, params=asked)["launchPartitionBackfill"]
        assert backfill["__typename"] == "LaunchBackfillSuccess", backfill
        tag = {"tags": [{"key": "dagster/backfill", "value": backfill["backfillId"]}]}

        def ended():
            answer = server.ask(BACKFILL_STATUS, id=backfill["backfillId"])["partitionBackfillOrError"]
            return answer["status"] not in ("REQUESTED", "CANCELING") and answer

        assert until(ended, server)["status"] == "COMPLETED_SUCCESS"
        # All days of all tables in one run, and nothing that was known lands again.
        [run] = server.ask(RUNS, filter=tag)["runsOrError"]["results"]
        assert run["status"] == "SUCCESS"
        assert {tuple(key["path"]) for key in run["assetSelection"]} == {
            ("salesforce", table.name) for table in OBJECTS
        }
        assert home.lake_files() == files
    finally:
        left = server.stop()
    assert left == []


@pytest.mark.nightly
@pytest.mark.parametrize("command", ["dagster", "dg"])
def test_what_every_dagster_user_types_serves_the_state_folder(built_home, tmp_path, command):
    home = replace(built_home, path=tmp_path / "gtm")
    shutil.copytree(built_home.path, home.path)
    program = str(GTM.with_name(command))
    server = Server(home, free_port(), tmp_path / "dev.log", (program, "dev")).start()

    def launched(params: dict) -> str:
        selector = {
            "repositoryLocationName": "gtm_assets",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            **params,
        }
        tags = [{"key": "dagster/partition", "value": DAYS[-1]}] if "partitioned" in params else []
        selector.pop("partitioned", None)
        asked = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        answer = server.ask(LAUNCH, params=asked)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    try:
        # The runs of before are there: it is the state folder's instance.
        assert runs(server, "refresh", "SUCCESS")
        daemons = until(
            lambda: [
                d for d in server.ask(HEALTH)["instance"]["daemonHealth"]["allDaemonStatuses"] if d["healthy"]
            ],
            server,
        )
        assert daemons
        raw, model = ["salesforce", "account"], ["gtm_core", "dim_account"]
        check = {"assetKey": {"path": ["gtm_core", "fct_opportunity"]}, "name": "reconciles_with_source"}
        for params in (
            {"assetSelection": [{"path": raw}], "partitioned": True},
            {"assetSelection": [{"path": model}], "assetCheckSelection": []},
            {"assetSelection": [], "assetCheckSelection": [check]},
        ):
            server.wait_for_run(launched(params), "SUCCESS")
        assert "telemetry" not in server.log.read_text().lower()
    finally:
        left = server.stop()
    assert left == []
    # Nothing stays in the folder where it was typed.
    assert not list(PROJECT.glob(".tmp_dagster_home_*"))
