"""The code location: one graph from raw table to report, and nothing in it that stands alone."""

from pathlib import Path

import dagster as dg
import pytest

from gtm_assets.automation.alerts.sensor import ASSET_KEY as ALERTS
from gtm_assets.automation.compaction import ASSET_KEY as COMPACTED
from gtm_assets.automation.jobs import Jobs
from gtm_assets.checks.service_levels import ASSET_KEY as SERVICE_LEVELS
from gtm_assets.dbt.exposures import GROUP as DASHBOARDS
from gtm_assets.definitions import definitions
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.settings import load_settings
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.registry import raw_tables
from gtm_assets.sources.salesforce.catalog import OBJECTS

RAW = (*OBJECTS, *TABLES)


@pytest.fixture(scope="module")
def defs(tmp_path_factory) -> dg.Definitions:
    """Those of a state folder to which nothing was said."""
    return definitions(load_settings({"GTM_HOME": str(tmp_path_factory.mktemp("home"))}))


@pytest.fixture(scope="module")
def graph(defs):
    return defs.resolve_asset_graph()


def test_the_code_location_loads(defs):
    dg.Definitions.validate_loadable(defs)


def test_every_raw_table_is_a_partitioned_asset_of_an_op_of_its_own(defs, graph):
    ops = set()
    for table in RAW:
        node = graph.get(dg.AssetKey([table.source, table.name]))
        ops.add(node.assets_def.op.name)
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
        assert (node.partitions_def.hour_offset, node.partitions_def.minute_offset) == (21, 49)
        assert node.backfill_policy.max_partitions_per_run == 31
        assert node.group_name == f"{table.source}_raw"
        assert node.kinds == {table.source, "parquet"}
        assert node.description and node.owners and node.tags["layer"] == "raw"
    assert len(ops) == len(RAW) == 25 + 6


def test_a_dbt_source_and_its_raw_table_are_one_node(graph):
    for table in RAW:
        children = graph.get(dg.AssetKey([table.source, table.name])).child_keys
        assert dg.AssetKey(["gtm_staging", f"base_{table.source}__{table.name}"]) in children


def test_no_asset_stands_alone_and_every_model_comes_from_a_source_or_a_seed(graph):
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        assert node.is_materializable or node.group_name == DASHBOARDS or key == ALERTS, (
            f"{key} is only referred to"
        )
        assert node.parent_keys or node.child_keys, f"{key} stands alone"
        if not node.parent_keys:
            assert node.tags["layer"] in ("raw", "seeds"), f"{key} comes from nowhere"


def test_core_and_mart_reach_the_published_file(graph):
    upstream = graph.get(PUBLISHED).parent_keys
    layers = {graph.get(key).tags["layer"] for key in upstream}

    assert layers == {"core", "mart", "certified"}
    assert upstream == {k for k in graph.toposorted_asset_keys if graph.get(k).tags["layer"] in layers}


def test_groups_are_the_layers(graph):
    for key in graph.toposorted_asset_keys:
        node, layer = graph.get(key), graph.get(key).tags["layer"]
        reads_core = layer == "intermediate" and node.group_name in ("core", "mart")
        assert reads_core or node.group_name == (f"{key.path[0]}_raw" if layer == "raw" else layer)


def test_every_built_asset_says_what_it_is_and_has_its_columns_described(graph):
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        if node.tags["layer"] in ("core", "mart"):
            schema = node.metadata["dagster/column_schema"]
            columns = schema.value.columns if hasattr(schema, "value") else schema.columns
            assert node.description, key
            assert columns and all(column.description and column.type != "?" for column in columns), key
            assert node.check_keys, f"{key} has no check"


def test_columns_of_personal_data_show_their_tier_and_models_the_file_that_makes_them(graph):
    def tiers(*path: str) -> dict[str, str]:
        schema = graph.get(dg.AssetKey(path)).metadata["dagster/column_schema"]
        return {column.name: column.tags["pii"] for column in schema.columns if "pii" in column.tags}

    assert tiers("salesforce", "contact")["email"] == "confidential"
    assert tiers("gtm_core", "dim_contact")["email"] == "confidential"
    assert "account_id" not in tiers("gtm_core", "dim_contact")
    made = [graph.get(key) for key in graph.toposorted_asset_keys if key.path[0].startswith("gtm_")]
    assert len(made) > 130
    for node in made:
        [reference] = node.metadata["dagster/code_references"].code_references
        path = Path(reference.file_path)
        assert path.is_file() and path.stem == node.key.path[-1], node.key


def test_keys_are_guarded_by_blocking_checks(defs, graph):
    blocking = {
        spec.key
        for assets in defs.assets
        if isinstance(assets, dg.AssetsDefinition)
        for spec in assets.check_specs
        if spec.blocking
    }
    for key in graph.toposorted_asset_keys:
        if graph.get(key).tags["layer"] in ("core", "mart"):
            assert any(check.asset_key == key for check in blocking), f"nothing blocks for {key}"


def test_the_graph_of_groups_leads_one_way(graph):
    """Collapsed to its groups, the graph in the UI has no way back from core to what core is made of."""
    order = ["seeds", "staging", "intermediate", "core", "mart", "published"]
    place = {group: number for number, group in enumerate(order)}
    back = {
        (parent.to_user_string(), key.to_user_string())
        for key in graph.toposorted_asset_keys
        for parent in graph.get(key).parent_keys
        if graph.get(key).group_name in place
        and place.get(graph.get(parent).group_name, -1) > place[graph.get(key).group_name]
    }

    assert back == set()
    assert {graph.get(key).group_name for key in graph.toposorted_asset_keys} >= set(order)


def test_the_jobs_cover_the_graph(defs, graph):
    names = ("extract", "transform", "refresh", "full_extraction", "measure", "compact")
    layers = {name: defs.resolve_job_def(name).asset_layer for name in names}
    keys = {name: layer.executable_asset_keys for name, layer in layers.items()}

    of_operations = {SERVICE_LEVELS, COMPACTED}
    assert keys["refresh"] == keys["full_extraction"] == set(graph.materializable_asset_keys) - of_operations
    assert keys["extract"] | keys["transform"] == keys["refresh"]
    assert keys["extract"] & keys["transform"] == set()
    assert keys["measure"] == {SERVICE_LEVELS}
    assert keys["compact"] == {COMPACTED}
    assert len(layers["measure"].asset_graph.asset_check_keys) == 1 + sum(
        table.expects_daily_rows for table in RAW
    )
    assert all(job.description for job in Jobs.of(RAW).all)


@pytest.fixture(scope="module")
def external(tmp_path_factory) -> dg.Definitions:
    settings = {
        "GTM_HOME": str(tmp_path_factory.mktemp("external")),
        "GTM_SALESFORCE_SOURCE": "external",
        "GTM_EXTERNAL_DATABASE": "/nowhere/external.duckdb",
    }
    return definitions(load_settings(settings))


def test_in_external_mode_the_raw_tables_are_external_assets_with_the_same_keys(external, graph):
    dg.Definitions.validate_loadable(external)
    found = external.resolve_asset_graph()

    assert set(found.toposorted_asset_keys) == set(graph.toposorted_asset_keys) - {SERVICE_LEVELS, COMPACTED}
    for table in OBJECTS:
        node, ours = (g.get(dg.AssetKey(["salesforce", table.name])) for g in (found, graph))
        assert node.is_external and not node.is_executable
        assert node.partitions_def is None
        assert node.child_keys == ours.child_keys - {COMPACTED}
        assert (node.group_name, node.description) == (ours.group_name, ours.description)
        assert (node.tags["layer"], node.kinds) == ("raw", {"salesforce", "fivetran"})
    assert all(node.partitions_def is None for node in found.asset_nodes)


def test_in_external_mode_all_that_is_built_is_checked_and_nothing_of_external_tables(external, graph):
    left_out = set(graph.asset_check_keys) - set(external.resolve_asset_graph().asset_check_keys)

    # External tables have no days of ours that could be late.
    of_days = {check for check in left_out if check.asset_key in (PUBLISHED, SERVICE_LEVELS)}
    assert {check.name for check in of_days} == {"published_on_time", "service_level_met"}
    # Lists of values that the synthetic organisation alone keeps to.
    of_lists = {check for check in left_out if check.name.startswith("accepted_values")}
    assert {check.asset_key.path[0] for check in of_lists} == {"gtm_staging"}
    assert {check.asset_key.path[0] for check in left_out - of_days - of_lists} == {"salesforce", "pipedrive"}


def test_in_external_mode_the_one_job_builds_and_lands_nothing(external):
    assert [job.name for job in external.jobs] == ["transform"]
    executable = external.resolve_job_def("transform").asset_layer.executable_asset_keys
    assert PUBLISHED in executable
    assert not any(key.path[0] == "salesforce" for key in executable)


def test_the_jobs_make_every_check_but_those_of_freshness(defs, graph):
    """While a backfill lands day after day, the days to come are missing."""
    made = set(defs.resolve_job_def("full_extraction").asset_layer.asset_graph.asset_check_keys)
    left_out = {check for check in graph.asset_check_keys - made if check.asset_key != SERVICE_LEVELS}

    assert {check.name for check in left_out} == {"landed_on_time", "published_on_time", "source_is_fresh"}
    assert len(left_out) == len(RAW) + 1 + sum(table.expects_daily_rows for table in RAW)


def test_the_config_of_a_full_extraction_fits_its_job(defs):
    job = defs.resolve_job_def("full_extraction")

    dg.validate_run_config(job, Jobs.of(RAW).full_config)


@pytest.fixture(scope="module")
def closed(tmp_path_factory) -> dg.Definitions:
    """Those of a calendar that ends."""
    home = str(tmp_path_factory.mktemp("closed"))
    return definitions(load_settings({"GTM_HOME": home, "GTM_END_DATE": "2026-09-30"}))


def test_schedules_and_sensors_are_on_by_themselves_and_off_on_a_closed_calendar(defs, closed):
    for found, status in ((defs, "RUNNING"), (closed, "STOPPED")):
        offered = {part.name: part.default_status.value for part in [*found.schedules, *found.sensors]}
        assert offered.pop("alerts") == "RUNNING"
        assert {"extract_daily", "full_extraction_weekly", "measure_daily", "compact_monthly"} <= offered.keys()
        assert {"transform_when_landed", "catch_up", "freshness"} <= offered.keys()
        assert set(offered.values()) == {status}


def test_each_asset_of_the_way_to_the_published_file_has_a_freshness_policy(graph, closed, external):
    def with_policy(graph) -> set[dg.AssetKey]:
        return {k for k in graph.materializable_asset_keys if graph.get(k).freshness_policy is not None}

    layers = {key: graph.get(key).tags["layer"] for key in graph.materializable_asset_keys}
    assert with_policy(graph) == {k for k, v in layers.items() if v in ("raw", "core", "mart", "published")}
    # On a calendar that ends no day follows, and another loader has deadlines of its own.
    assert with_policy(closed.resolve_asset_graph()) == with_policy(external.resolve_asset_graph()) == set()


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({}, "synthetic"),
        ({"GTM_PIPEDRIVE_DIR": "/nowhere"}, "export"),
        ({"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": "/nowhere/external.duckdb"}, None),
        (
            {
                "GTM_SALESFORCE_SOURCE": "external",
                "GTM_EXTERNAL_DATABASE": "/nowhere/external.duckdb",
                "GTM_PIPEDRIVE_DIR": "/nowhere",
            },
            "export",
        ),
        (
            {
                "GTM_SALESFORCE_SOURCE": "live",
                "GTM_SALESFORCE_INSTANCE_URL": "http://127.0.0.1:1",
                "GTM_SALESFORCE_CLIENT_ID": "id",
                "GTM_SALESFORCE_CLIENT_SECRET": "secret",
            },
            None,
        ),
    ],
    ids=["default", "a folder", "external", "external and a folder", "live"],
)
def test_made_up_deals_never_go_beside_those_of_a_real_organisation(tmp_path, given, source):
    settings = load_settings({"GTM_HOME": str(tmp_path)} | given)

    found = definitions(settings)

    dg.Definitions.validate_loadable(found)
    landed = {t.name for t in raw_tables(settings) if t.source == "pipedrive"}
    executable = found.resolve_asset_graph().executable_asset_keys
    assert settings.pipedrive_source == source
    assert {key.path[1] for key in executable if key.path[0] == "pipedrive"} == landed
    assert landed == ({t.name for t in TABLES} if source else set())
    jobs = {job.name for job in found.jobs}
    assert ("extract" in jobs) == bool(raw_tables(settings))
