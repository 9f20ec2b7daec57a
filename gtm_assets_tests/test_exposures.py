"""What reads the reports: the dbt project's exposures, and how they stand in Dagster's graph."""

import json
import re

import dagster as dg
import pytest
from dagster._utils.schedules import is_valid_cron_string

from gtm_assets.automation.alerts.sensor import ASSET_KEY as ALERTS
from gtm_assets.checks.service_levels import ASSET_KEY as SERVICE_LEVELS
from gtm_assets.dashboards import bundle
from gtm_assets.dashboards.bundle import documents
from gtm_assets.dbt.exposures import NOT_SET_UP, SERVED_HERE, exposure_of, metadata
from gtm_assets.dbt.project import TransformError, manifest_path
from gtm_assets.definitions import definitions
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.reporting.assets import ASSET_KEY as REPORT
from gtm_assets.settings import DASHBOARDS_PORT, load_settings


@pytest.fixture(scope="module")
def manifest() -> dict:
    return json.loads(manifest_path().read_text())


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    settings = load_settings(
        {
            "GTM_HOME": str(tmp_path_factory.mktemp("home")),
            "GTM_DASHBOARDS_ADDRESS": "https://boards.acme.example/",
        }
    )
    return definitions(settings).resolve_asset_graph()


def exposures(manifest) -> dict[str, dict]:
    return {exposure["name"]: exposure for exposure in manifest["exposures"].values()}


def models(manifest, *layers: str) -> set[str]:
    nodes = manifest["nodes"].values()
    return {n["unique_id"] for n in nodes if n["resource_type"] == "model" and n["fqn"][1] in layers}


def keys(manifest, exposure) -> set[dg.AssetKey]:
    nodes = [manifest["nodes"][name] for name in exposure["depends_on"]["nodes"]]
    return {dg.AssetKey([node["schema"], node["alias"]]) for node in nodes}


def test_they_are_the_three_dashboards_and_the_published_file(manifest):
    assert set(exposures(manifest)) == {
        "executive_dashboard",
        "operations_dashboard",
        "published_file",
        "revenue_dashboard",
    }


def test_each_names_who_answers_for_it_and_what_its_readers_can_count_on(manifest):
    for name, exposure in exposures(manifest).items():
        meta = exposure["config"]["meta"]
        assert exposure["description"] and exposure["owner"]["name"], name
        assert "@" in exposure["owner"]["email"], name
        assert exposure["maturity"] in ("low", "medium", "high"), name
        assert isinstance(meta["certified"], bool), name
        assert is_valid_cron_string(meta["refresh_schedule"]) and meta["refresh_timezone"], name
        assert meta["service_level"].endswith("% of days"), name
        # The file's place differs from home to home.
        assert (exposure["url"] or "").startswith(SERVED_HERE) or exposure["type"] == "application", name


def test_every_report_is_read_by_a_dashboard(manifest):
    read = {
        node
        for exposure in exposures(manifest).values()
        if exposure["type"] == "dashboard"
        for node in exposure["depends_on"]["nodes"]
    }

    unread = models(manifest, "mart") - read
    assert not unread, f"add them to a dashboard in gtm_dbt/models/mart/_exposures.yml: {unread}"


def test_the_published_file_is_core_and_mart(manifest):
    named = set(exposures(manifest)["published_file"]["depends_on"]["nodes"])

    published = models(manifest, "core", "mart", "certified")
    assert named == published, f"amend published_file in _exposures.yml: {named ^ published}"


def test_each_is_in_the_graph_with_what_it_reads_and_what_is_said_of_it(manifest, graph):
    for name, exposure in exposures(manifest).items():
        is_file = name == "published_file"
        node = graph.get(PUBLISHED if is_file else dg.AssetKey(["dashboards", name]))
        meta = exposure["config"]["meta"]
        assert node.parent_keys == keys(manifest, exposure) | (set() if is_file else {PUBLISHED}), name
        assert node.description == exposure["description"]
        assert node.owners == [exposure["owner"]["email"]]
        assert node.metadata["owner"] == exposure["owner"]["name"]
        assert node.metadata["maturity"] == exposure["maturity"]
        for term in ("certified", "refresh_schedule", "refresh_timezone", "service_level"):
            assert node.metadata[term] == meta[term], (name, term)
        if is_file:
            assert "url" not in node.metadata
        else:
            assert node.metadata["url"] == dg.MetadataValue.url(
                exposure["url"].replace(SERVED_HERE, "https://boards.acme.example")
            )
            assert node.kinds == {"dashboard"}
            assert node.is_external


def test_an_address_is_a_link_where_dashboards_are_set_up_and_a_sentence_where_not(manifest):
    of_ours = exposures(manifest)["revenue_dashboard"]
    of_a_team = {**of_ours, "url": "https://bi.acme.example/revenue"}

    assert metadata(of_ours, SERVED_HERE)["url"] == dg.MetadataValue.url(of_ours["url"])
    assert metadata(of_ours, None)["address"] == NOT_SET_UP and "url" not in metadata(of_ours, None)
    assert metadata(of_a_team, None)["url"] == dg.MetadataValue.url("https://bi.acme.example/revenue")
    assert SERVED_HERE.endswith(f":{DASHBOARDS_PORT}")


def test_each_dashboard_names_what_superset_reads(manifest):
    found = documents()
    datasets = {one["uuid"]: one for one in bundle.datasets(found).values()}
    charts = {
        one["uuid"]: datasets[one["dataset_uuid"]] for path, one in found.items() if path.startswith("charts/")
    }
    for path, dashboard in found.items():
        if path.startswith("dashboards/"):
            named = {
                n.split(".")[-1]
                for n in exposures(manifest)[f"{dashboard['slug']}_dashboard"]["depends_on"]["nodes"]
            }
            read = {charts[chart]["table_name"]: charts[chart] for chart in bundle.charts_of(dashboard)}
            models = {name for name, one in read.items() if one["schema"] == "gtm_certified"}
            for one in read.values():
                models |= set(re.findall(r"gtm_core\.(\w+)", one["sql"] or ""))
            assert models <= named, (path, models - named)


def test_the_published_file_is_one_node(graph):
    assert dg.AssetKey(["dashboards", "published_file"]) not in graph.toposorted_asset_keys
    dashboards = {key for key in graph.toposorted_asset_keys if graph.get(key).group_name == "dashboards"}
    assert graph.get(PUBLISHED).child_keys == dashboards | {SERVICE_LEVELS, ALERTS, REPORT}
    assert len(dashboards) == 3


def test_without_the_published_files_exposure_the_code_location_says_what_to_write():
    with pytest.raises(TransformError, match=r"published/gtm.*_exposures\.yml"):
        exposure_of({"exposures": {}}, PUBLISHED)
