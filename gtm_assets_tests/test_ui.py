"""`gtm dev`: the UI as its users see it, in a browser, from the graph to a partition landed by clicking."""

import json
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest
from playwright.sync_api import expect

from gtm_assets.dbt.assets import groups, layer_of
from gtm_assets.dbt.project import manifest_path
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets_tests.browser import Server, free_port, kill
from gtm_assets_tests.gtm_process import SMALL, GtmHome

pytestmark = pytest.mark.slow

GROUPS = [
    "certified",
    "core",
    "dashboards",
    "intermediate",
    "mart",
    "operations",
    "pipedrive_raw",
    "published",
    "salesforce_raw",
    "seeds",
    "staging",
]
DAY = "2026-09-13"
"""A partition that is over and has not landed. The day before it has not either, and stays so."""


def copy(home: GtmHome, path) -> GtmHome:
    """A copy of a state folder whose calendar has two more days than have landed."""
    shutil.copytree(home.path, path)
    return replace(home, path=path, settings=tuple({**SMALL, "GTM_END_DATE": DAY}.items()))


@pytest.fixture(scope="module")
def server(built_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ui")
    server = Server(copy(built_home, folder / "gtm"), free_port(), folder / "dev.log").start()
    yield server
    left = server.stop()
    assert left == [], f"processes that Ctrl-C does not end: {left}\n{server.log.read_text()}"
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def nodes(server) -> dict[str, dict]:
    """The assets that the server lists, by key."""
    answer = server.ask("{ assetNodes { assetKey { path } groupName isMaterializable dependencyKeys { path } } }")
    return {"/".join(node["assetKey"]["path"]): node for node in answer["assetNodes"]}


def expected_groups() -> dict[str, str]:
    """The group of each asset: of the catalogue's tables, dbt's nodes, the published file and the dashboards."""
    manifest = json.loads(manifest_path().read_text())
    reading_core = groups(manifest)
    built = {
        f"{node['schema']}/{node['alias']}": reading_core.get(node["unique_id"], layer_of(node))
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed", "snapshot")
    }
    raw = {f"{table.source}/{table.name}": f"{table.source}_raw" for table in (*OBJECTS, *TABLES)}
    exposures = [exposure["name"] for exposure in manifest["exposures"].values()]
    dashboards = {f"dashboards/{name}": "dashboards" for name in exposures if name != "published_file"}
    own = {
        "published/gtm": "published",
        "published/report": "published",
        "operations/service_levels": "operations",
        "operations/compacted_lake": "operations",
        "operations/alerts": "operations",
    }
    return raw | built | own | dashboards


def test_graphql_answers_and_the_code_location_is_loaded(server):
    print(f"GraphQL answered after {server.seconds:.1f} s")
    locations = server.ask(
        """{ workspaceOrError { ... on Workspace { locationEntries {
            name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
    )["workspaceOrError"]["locationEntries"]

    assert [(location["name"], location["loadStatus"]) for location in locations] == [("gtm_assets", "LOADED")]
    assert locations[0]["locationOrLoadError"]["__typename"] == "RepositoryLocation", locations


def test_every_asset_is_listed_in_its_group(nodes):
    assert {key: node["groupName"] for key, node in nodes.items()} == expected_groups()
    groups = Counter(node["groupName"] for node in nodes.values())
    assert (groups["salesforce_raw"], groups["pipedrive_raw"]) == (25, 6)
    told_alone = {key for key, node in nodes.items() if not node["isMaterializable"]}
    assert told_alone == {key for key, node in nodes.items() if node["groupName"] == "dashboards"} | {
        "operations/alerts"
    }


def test_the_graph_leads_from_the_raw_table_to_the_published_file(nodes):
    parents = {key: {"/".join(d["path"]) for d in node["dependencyKeys"]} for key, node in nodes.items()}
    way = (
        "salesforce/account",
        "gtm_staging/base_salesforce__account",
        "gtm_staging/stg_salesforce__account",
        "gtm_intermediate/int_account__salesforce",
        "gtm_core/dim_account",
        "published/gtm",
    )

    for parent, child in pairwise(way):
        assert parent in parents[child]
    for table in (*OBJECTS, *TABLES):
        base = f"gtm_staging/base_{table.source}__{table.name}"
        assert f"{table.source}/{table.name}" in parents[base]
    with_neighbours = {key for key in parents if parents[key]} | set().union(*parents.values())
    assert with_neighbours == set(nodes)


def test_the_lineage_page_shows_every_asset_in_its_group(browser, server, page):
    # High enough for all rows: those out of sight are not drawn.
    page.set_viewport_size({"width": 1500, "height": 30 * (len(expected_groups()) + len(GROUPS)) + 400})
    page.goto(f"{server.url}/asset-groups/")
    for group in GROUPS:
        header = page.get_by_title(group, exact=True)
        header.locator("xpath=ancestor::div[.//*[@aria-label='arrow_drop_down']][1]").get_by_label(
            "arrow_drop_down"
        ).click()
    rows = page.locator("[title]")
    expect(rows).to_have_count(len(expected_groups()) + len(GROUPS))
    browser.screenshot(page, "lineage-groups")

    shown, group = defaultdict(set), None
    for row in rows.all():
        title = row.get_attribute("title")
        if title in GROUPS:
            group = title
        else:
            shown[group].add(title)
    wanted = defaultdict(set)
    for key, group in expected_groups().items():
        wanted[group].add(key.split("/")[-1])
    assert shown == wanted
    # Nothing asks for an address to be entered, or for anything else.
    assert page.get_by_role("dialog").count() == 0


def test_the_way_from_a_raw_table_to_the_published_file_is_drawn(browser, server, page):
    page.goto(f"{server.url}/asset-groups/")
    page.get_by_title("salesforce_raw", exact=True).wait_for()
    page.locator(".CodeMirror").first.click()
    page.keyboard.type(
        '(key:"salesforce/account"+ and +key:"gtm_core/dim_account") or key:"published/gtm"', delay=5
    )
    page.keyboard.press("Enter")
    expect(page.get_by_title("seeds", exact=True)).to_have_count(0)
    page.keyboard.press("Escape")
    page.mouse.click(1300, 900, button="right")
    page.get_by_role("menuitem", name="Expand all groups").click()

    drawn = page.locator("foreignObject")
    for name in ("account", "dim_account_scd2", "dim_account", "gtm"):
        expect(drawn.get_by_text(name, exact=True).first).to_be_visible()
    for beginning in ("base_", "stg_", "int_"):
        # Long names are cut in the middle.
        expect(drawn.get_by_text(beginning).first).to_be_visible()
    browser.screenshot(page, "lineage-account")


def test_a_partition_of_a_raw_table_is_landed_by_clicking(browser, server, page):
    partition = server.home.path / f"lake/salesforce/account/partition={DAY}"
    assert not partition.exists()
    page.goto(f"{server.url}/assets/salesforce/account")
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Missing", exact=True).click()
    expect(dialog.get_by_role("textbox").first).to_have_value(f"[2026-09-12...{DAY}]")
    dialog.get_by_role("textbox").first.fill(DAY)
    dialog.get_by_role("textbox").first.press("Enter")
    browser.screenshot(page, "materialize")
    dialog.get_by_role("button", name="Launch 1 run").click()
    page.get_by_text("Launched run").wait_for()

    runs = server.ask(
        """query($day: String!) { runsOrError(filter: { tags: [{ key: "dagster/partition", value: $day }] }) {
            ... on Runs { results { runId } } } }""",
        day=DAY,
    )["runsOrError"]["results"]
    assert len(runs) == 1
    server.wait_for_run(runs[0]["runId"], "SUCCESS")
    batches = list(partition.glob("*.parquet"))
    assert len(batches) == 1
    landed = pl.read_parquet(batches[0])
    assert landed.height > 0

    page.get_by_role("tab", name="Partitions").click()
    page.get_by_title(DAY, exact=True).click()
    expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
    shown = {
        "rows_received": str(landed.height),
        "dagster/partition_row_count": str(landed.height),
        "quarantined": "0",
        "bytes": str(batches[0].stat().st_size),
        "batch_id": batches[0].stem,
    }
    for name, value in shown.items():
        expect(page.get_by_role("row").filter(has_text=name).get_by_text(value, exact=True)).to_be_visible()
    newest = landed["system_modstamp"].max()
    expect(page.get_by_role("row").filter(has_text="newest_cursor")).to_contain_text(f"{newest:%M:%S}")
    browser.screenshot(page, "partition")
    page.get_by_text("Show Table Schema").click()
    for column in ("annual_revenue", "_batch_id", "_known_at"):
        expect(page.get_by_role("dialog").get_by_text(column, exact=True)).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()

    page.goto(f"{server.url}/assets/salesforce/account?view=checks&checkDetail=nothing_in_quarantine")
    expect(page.get_by_text("nothing_in_quarantine").first).to_be_visible()
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    expect(page.get_by_text("No record waits.").first).to_be_visible()
    browser.screenshot(page, "checks")


def test_a_second_server_is_refused_with_the_reason(server, tmp_path):
    again = server.home.command("dev", "--port", str(free_port()))
    elsewhere = GtmHome(tmp_path / "gtm").command("dev", "--port", str(server.port))

    assert again.code == 1
    assert f"is served already, by process {server.process.pid}" in again.output
    assert elsewhere.code == 1
    assert f"can't listen on 127.0.0.1:{server.port}" in elsewhere.output


@pytest.mark.nightly
def test_killed_in_the_middle_of_a_run_it_starts_again_and_ends_what_was_left(built_home, tmp_path):
    home, port = copy(built_home, tmp_path / "gtm"), free_port()
    killed = Server(home, port, tmp_path / "killed.log").start()
    try:
        launched = killed.ask(
            """mutation { launchPipelineExecution(executionParams: { mode: "default", selector: {
                repositoryLocationName: "gtm_assets", repositoryName: "__repository__", jobName: "transform" } }) {
                ... on LaunchRunSuccess { run { runId } } } }"""
        )["launchPipelineExecution"]["run"]["runId"]
        killed.wait_for_run(launched, "STARTED")
        # These two outlive the others, whose death nobody tells them.
        left = [p for p in killed.family() if {"dagster_webserver", "dagster._daemon"} & set(p.cmdline())]
        while others := [p for p in killed.family() if p not in left]:
            kill(others)
        assert len(left) == 2

        server = Server(home, port, tmp_path / "dev.log").start()
        status = server.run_status(launched)
        server.stop()
        assert status == "FAILURE"
        assert killed.family() == []
        assert "Another" not in server.log.read_text()
    finally:
        kill(killed.family())
