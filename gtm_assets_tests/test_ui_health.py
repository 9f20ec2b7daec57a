"""The health of assets as the UI shows it: one that is well, one whose check fails, one that is stale."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.test_utils import freeze_time
from playwright.sync_api import expect

from gtm_assets.checks import raw
from gtm_assets.checks.freshness import LANDED
from gtm_assets.lake.store import Lake
from gtm_assets.lake.summary import summarize
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.instance import job_origin, prepare_home
from gtm_assets.settings import PROJECT_DIR, Settings, load_settings
from gtm_assets.sources.raw_asset import asset_key
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets_tests.browser import Server, free_port
from gtm_assets_tests.gtm_process import GtmHome

pytestmark = pytest.mark.nightly

TABLES = {table.name: table for table in OBJECTS}
WELL, FAILING, STALE = (TABLES[name] for name in ("account", "lead", "task"))


def land(settings: Settings, table, *, without: str | None = None) -> list:
    """Land all partitions that are over; the last without a column."""
    calendar, lake = Calendar.of(settings), Lake(settings.lake_dir)
    org = SyntheticOrg(settings.synthetic_seed, settings.synthetic_scale)
    keys = calendar.closed(datetime.now(UTC))
    landings = []
    for key in keys:
        window = calendar.window(key)
        pages = list(org.changes(table, window))
        if without and key == keys[-1]:
            # A day of so small an org may have no record of its own.
            pages = [found.head(5).drop(without) for found in org.snapshot(table, window)]
        landings.append(lake.land(table, window, pages, window.end))
    return landings


def switch_off(instance: dg.DagsterInstance, *sensors: str) -> None:
    """As a user does in the UI, before the daemon starts."""
    repository = job_origin("extract", PROJECT_DIR).repository_origin
    for name in sensors:
        instance.add_instigator_state(
            InstigatorState(
                RemoteInstigatorOrigin(repository, name),
                InstigatorType.SENSOR,
                InstigatorStatus.STOPPED,
                SensorInstigatorData(min_interval=60),
            )
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The UI over three raw tables: two landed today, one three days ago."""
    folder = tmp_path_factory.mktemp("health")
    first = datetime.now(UTC).date() - timedelta(6)
    given = {"GTM_START_DATE": first.isoformat(), "GTM_END_DATE": "open", "GTM_SYNTHETIC_SCALE": "0.001"}
    home = GtmHome(folder / "gtm", settings=tuple(given.items()))
    settings = load_settings({**given, "GTM_HOME": str(home.path)})
    prepare_home(settings)
    with dg.DagsterInstance.get() as instance:
        switch_off(instance, "catch_up", "transform_when_landed")
        for table, without in ((WELL, None), (FAILING, "company")):
            landings = land(settings, table, without=without)
            limits = raw.Limits(settings.volume_tolerance, settings.quarantine_limit)
            key, summary = asset_key(table), summarize(Lake(settings.lake_dir), landings, first.isoformat())
            for landing in landings:
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=landing.partition))
            for name, finding in raw.findings(summary, {"company"}, limits).items():
                instance.report_runless_asset_event(finding.evaluation(dg.AssetCheckKey(key, name)))
        with freeze_time(datetime.now(UTC) - timedelta(days=3)):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key(STALE), partition=first.isoformat())
            )
    server = Server(home, free_port(), folder / "dev.log").start()
    yield server
    server.stop()


def shown(server: Server, table) -> dict:
    """What the server says of a raw asset: its freshness, and each check's latest result."""
    (node,) = server.ask(
        """query($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys) {
            freshnessStatusInfo { freshnessStatus }
            assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
                status evaluation { severity description } } } } } } }""",
        keys=[{"path": asset_key(table).path}],
    )["assetNodes"]
    checks = {
        check["name"]: execution
        for check in node["assetChecksOrError"]["checks"]
        if (execution := check["executionForLatestMaterialization"])
    }
    return {"freshness": node["freshnessStatusInfo"]["freshnessStatus"], "checks": checks}


def test_an_asset_that_is_well_one_that_fails_and_one_that_is_stale_are_told_apart(browser, server, page):
    wait = page.wait_for_timeout
    # The daemon evaluates policies each half minute, the sensor its checks each minute.
    for _ in range(60):
        found = {table.name: shown(server, table) for table in (WELL, FAILING, STALE)}
        if LANDED in found["task"]["checks"] and found["task"]["freshness"] != "UNKNOWN":
            break
        wait(2_000)

    assert found["account"]["freshness"] == found["lead"]["freshness"] == "HEALTHY"
    assert found["task"]["freshness"] == "DEGRADED"
    assert {check["status"] for check in found["account"]["checks"].values()} == {"SUCCEEDED"}
    assert found["lead"]["checks"]["schema_as_catalogued"]["status"] == "FAILED"
    late = found["task"]["checks"][LANDED]["evaluation"]
    assert late["severity"] == "ERROR"
    assert "salesforce.task has not landed partition" in late["description"]

    page.goto(f"{server.url}/assets/salesforce/account")
    expect(page.get_by_text("Passing", exact=True).first).to_be_visible()
    browser.screenshot(page, "health-well")
    page.goto(f"{server.url}/assets/salesforce/task")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    browser.screenshot(page, "health-stale")
    page.goto(f"{server.url}/assets/salesforce/lead?view=checks&checkDetail=schema_as_catalogued")
    expect(page.get_by_text("salesforce.lead no longer returns company, which models read").first).to_be_visible()
    browser.screenshot(page, "health-failing")
