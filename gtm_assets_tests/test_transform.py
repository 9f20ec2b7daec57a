"""dbt in Dagster: the small rules around a build."""

import json
from types import SimpleNamespace

import dagster as dg
import pytest

from gtm_assets.dbt import assets as transform
from gtm_assets.dbt.assets import layer_of, transform_assets
from gtm_assets.dbt.project import TransformError, build_arguments, manifest_path, project_state, raise_on_failure
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings


def test_the_project_is_parsed_again_when_a_file_changes_comes_or_goes(tmp_path):
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "a.sql"
    model.write_text("select 1")
    states = [project_state(tmp_path)]

    model.write_text("select 22")
    states.append(project_state(tmp_path))
    (tmp_path / "models" / "b.sql").write_text("select 1")
    states.append(project_state(tmp_path))
    (tmp_path / "models" / "b.sql").unlink()
    model.rename(tmp_path / "models" / "c.sql")
    states.append(project_state(tmp_path))

    assert len(set(states)) == 4


def test_what_dbt_writes_itself_does_not_make_the_project_look_changed(tmp_path):
    (tmp_path / "dbt_project.yml").write_text("name: x")
    before = project_state(tmp_path)

    for folder in ("target", "logs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("x")

    assert project_state(tmp_path) == before


def test_unit_tests_are_left_to_the_test_suite():
    # A failing one would fail the step with no failed check to look at.
    assert build_arguments() == ["build", "--exclude-resource-type", "unit_test"]
    assert "--exclude-resource-type" not in build_arguments(["dim_date"], unit_tests=True)


def test_lists_of_the_synthetic_organisation_are_asked_of_no_other_source():
    arguments = build_arguments(of_synthetic_org=False)

    assert arguments[-2:] == ["--exclude", "tag:synthetic_org"]
    manifest = json.loads(manifest_path().read_text())
    lists = {
        node["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and "synthetic_org" in node["tags"]
    }
    asked, asked_of_others = (
        {spec.name for spec in transform_assets(manifest, is_synthetic).check_specs}
        for is_synthetic in (True, False)
    )
    assert asked - asked_of_others == lists
    assert asked_of_others < asked and len(lists) > 10


def test_every_list_of_values_is_salesforces_or_the_synthetic_organisations():
    """Whoever adds a list to staging says whose it is."""
    of_salesforce = {"message_status", "forecast_category", "period_type", "task_subtype"}
    found = {
        node["column_name"]: "synthetic_org" in node["tags"]
        for node in json.loads(manifest_path().read_text())["nodes"].values()
        if node["name"].startswith("accepted_values_stg_salesforce__")
    }

    assert {column for column, is_synthetic in found.items() if not is_synthetic} == of_salesforce


def test_a_subset_is_named_whole_and_a_full_refresh_has_its_flag():
    arguments = build_arguments(["dim_date", "unique_dim_date"], full_refresh=True)

    assert arguments[1:5] == ["--select", "dim_date unique_dim_date", "--indirect-selection", "empty"]
    assert arguments[-1] == "--full-refresh"


@pytest.mark.parametrize(
    ("kind", "fqn", "layer"),
    [
        ("model", ["gtm_dbt", "staging", "salesforce", "stg_salesforce__user"], "staging"),
        ("model", ["gtm_dbt", "core", "dimensions", "dim_user"], "core"),
        ("seed", ["gtm_dbt", "holidays"], "seeds"),
        ("source", ["gtm_dbt", "staging", "salesforce", "salesforce", "user"], "raw"),
    ],
)
def test_a_layer_is_the_first_folder(kind, fqn, layer):
    assert layer_of({"resource_type": kind, "fqn": fqn}) == layer


def node_result(name: str, status: str, message: str | None = None, kind: str = "model", on: tuple = ()):
    node = SimpleNamespace(
        name=name, resource_type=kind, unique_id=name, depends_on_nodes=[getattr(n, "name", n) for n in on]
    )
    return SimpleNamespace(node=node, status=status, message=message)


def failure(*results) -> str:
    """What a build with these results says."""
    with pytest.raises(TransformError) as failed:
        raise_on_failure(
            SimpleNamespace(success=False, exception=None, result=SimpleNamespace(results=list(results)))
        )
    return str(failed.value)


def test_a_failed_build_names_each_failed_node_and_what_dbt_said():
    said = failure(node_result("dim_user", "error", "Binder Error"), node_result("dim_date", "success", "OK"))

    assert said == "dbt build failed:\nmodel dim_user: Binder Error"


def test_what_was_not_built_is_named_with_its_cause_and_what_was_skipped_is_no_failure():
    said = failure(
        node_result("dim_user", "error", "Binder Error"),
        node_result("fct_task", "skipped", on=("dim_user",)),
        node_result("fct_task_is_unique", "skipped", kind="test", on=("fct_task",)),
        node_result("rep_tasks", "skipped", on=("fct_task",)),
        node_result("dim_date", "success", "OK"),
        node_result("fct_deal", "success", "OK"),
        node_result("deals_have_dates", "fail", "Got 2 results", kind="test", on=("dim_date", "fct_deal")),
        # Built from one of the two alone: not held back.
        node_result("rep_days", "success", on=("dim_date",)),
        node_result("rep_deals", "skipped", on=("dim_date", "fct_deal")),
        node_result("rep_all", "skipped", on=("rep_deals", "rep_tasks")),
        node_result("dashboard", "skipped", kind="exposure", on=("rep_all",)),
    )

    assert said.splitlines() == [
        "dbt build failed:",
        "model dim_user: Binder Error",
        "test deals_have_dates failed",
        "Not built because of model dim_user: fct_task, rep_tasks.",
        "Not built because of test deals_have_dates: rep_deals.",
        "Not built because of model dim_user and test deals_have_dates: rep_all.",
    ]


def test_a_break_before_building_is_told_with_its_cause():
    with pytest.raises(TransformError, match="dbt broke off: no profile"):
        raise_on_failure(SimpleNamespace(success=False, exception=ValueError("no profile"), result=None))
    with pytest.raises(TransformError, match="dbt broke off: disk"):
        raise_on_failure(OSError("disk"))


def test_a_check_that_a_failed_build_did_not_come_to_is_no_failure_and_keeps_its_verdict(tmp_path, monkeypatch):
    settings = load_settings({"GTM_HOME": str(tmp_path)})
    assets = transform_assets(json.loads(manifest_path().read_text()))
    before, never = sorted(spec.key for spec in assets.check_specs)[:2]

    def build_beside(*_):
        yield from ()
        raise TransformError("dbt build failed:\nmodel dim_user: Binder Error")

    monkeypatch.setattr(transform, "build_beside", build_beside)
    build = transform.DbtBuild(settings, Warehouse.of(settings), Lake(settings.lake_dir))
    with dg.DagsterInstance.ephemeral() as instance:
        evaluation = dg.AssetCheckEvaluation(asset_key=before.asset_key, check_name=before.name, passed=True)
        instance.report_runless_asset_event(evaluation)

        run = dg.materialize([assets], instance=instance, resources={"dbt_build": build}, raise_on_error=False)

        found = instance.event_log_storage.get_latest_asset_check_execution_by_key([before, never])
        assert not run.success
        assert {key: record.status.value for key, record in found.items()} == {before: "SUCCEEDED"}
