"""`gtm build`: exactly the models that are named, with their tests, recorded like a click in the UI."""

import shutil
from dataclasses import replace

import dagster as dg
import pytest

from gtm_assets.dbt.assets import selected_models
from gtm_assets.dbt.project import TransformError
from gtm_assets.definitions import definitions
from gtm_assets.runtime.instance import prepare_home
from gtm_assets.settings import load_settings


@pytest.fixture(scope="module")
def defs(tmp_path_factory) -> dg.Definitions:
    return definitions(load_settings({"GTM_HOME": str(tmp_path_factory.mktemp("gtm"))}))


def names(keys: list[dg.AssetKey]) -> list[str]:
    return [key.path[-1] for key in keys]


def test_a_model_is_named_as_in_dbt(defs):
    assert names(selected_models(defs, ["dim_date"])) == ["dim_date"]
    above = names(selected_models(defs, ["+dim_campaign"]))
    assert above[-1] == "dim_campaign" and "base_salesforce__campaign" in above
    below = names(selected_models(defs, ["dim_campaign+1"]))
    assert below[0] == "dim_campaign" and len(below) > 1
    assert set(names(selected_models(defs, ["dim_date", "dim_campaign"]))) == {"dim_date", "dim_campaign"}
    assert {key.path[0] for key in selected_models(defs, ["mart"])} == {"gtm_mart"}


@pytest.mark.parametrize(
    ("selection", "said"),
    [("+fct_oportunity", "fct_opportunity?"), ("zebra", "`dbt ls` lists the models")],
)
def test_what_selects_nothing_is_named(defs, selection, said):
    with pytest.raises(TransformError) as refused:
        selected_models(defs, ["dim_date", selection])

    assert str(refused.value).startswith(f"{selection} selects no model.")
    assert str(refused.value).endswith(said) or said in str(refused.value)


@pytest.mark.slow
def test_one_model_is_built_with_its_tests_and_nothing_else(built_home, tmp_path, monkeypatch):
    home = replace(built_home, path=tmp_path / "gtm")
    shutil.copytree(built_home.path, home.path)
    published = home.published.stat().st_mtime_ns
    # What dbt has built by hand the platform does not know, and so neither what its children are made of.
    home.command("dbt", "build", "--select", "dim_date", "--exclude-resource-type", "test").check()

    done = home.command("build", "fct_opportunity").check()

    assert "built   gtm_core.fct_opportunity: " in done.output
    assert done.output.count("built ") == 1
    assert home.published.stat().st_mtime_ns == published
    for name in ("DAGSTER_HOME", "GTM_HOME", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "to be set by prepare_home")
    prepare_home(load_settings({"GTM_HOME": str(home.path)}))
    with dg.DagsterInstance.get() as instance:
        run = instance.get_runs(limit=1)[0]
        events = [log.dagster_event for log in instance.all_logs(run.run_id) if log.is_dagster_event]
        said = [log.user_message for log in instance.all_logs(run.run_id)]
    kinds = dg.DagsterEventType
    built = {event.asset_key.path[-1] for event in events if event.event_type is kinds.ASSET_MATERIALIZATION}
    assert built == {"fct_opportunity"}
    checked = [e.asset_check_evaluation_data for e in events if e.event_type is kinds.ASSET_CHECK_EVALUATION]
    assert {check.asset_key.path[-1] for check in checked} == {"fct_opportunity"}
    assert {"reconciles_with_source", "fct_opportunity_keys_resolve"} <= {check.check_name for check in checked}
    # Tests of other models that read this one are no checks of this run.
    assert not [event for event in events if event.event_type is kinds.ASSET_OBSERVATION]
    assert not [text for text in said if "AssetObservation" in text]
    assert [text for text in said if text.startswith("unit test ") and text.endswith(": pass")]
