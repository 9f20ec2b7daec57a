"""dbt in Dagster: the small rules around a build."""

from types import SimpleNamespace

import pytest

from gtm_assets.dbt_runner import TransformError, build_arguments, project_state, raise_on_failure
from gtm_assets.transform import layer_of


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
    arguments = build_arguments(["--select", "fqn:*"], None, full_refresh=False)

    assert arguments == ["build", "--select", "fqn:*", "--exclude-resource-type", "unit_test"]


def test_a_subset_keeps_its_indirect_selection_and_a_full_refresh_its_flag():
    arguments = build_arguments([], "cautious", full_refresh=True)

    assert arguments[-3:] == ["--indirect-selection", "cautious", "--full-refresh"]


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


def node_result(name: str, status: str, message: str | None):
    return SimpleNamespace(node=SimpleNamespace(name=name, resource_type="model"), status=status, message=message)


def test_a_failed_build_names_each_failed_node_and_what_dbt_said():
    results = [node_result("dim_user", "error", "Binder Error"), node_result("dim_date", "success", "OK")]
    outcome = SimpleNamespace(success=False, exception=None, result=SimpleNamespace(results=results))

    with pytest.raises(TransformError) as failed:
        raise_on_failure(outcome)

    assert str(failed.value) == "dbt build failed:\nmodel dim_user: Binder Error"


def test_a_break_before_building_is_told_with_its_cause():
    with pytest.raises(TransformError, match="dbt broke off: no profile"):
        raise_on_failure(SimpleNamespace(success=False, exception=ValueError("no profile"), result=None))
    with pytest.raises(TransformError, match="dbt broke off: disk"):
        raise_on_failure(OSError("disk"))
