"""Each dbt test is a check that says what holds, and whose failure says how many rows are against it."""

import json

import pytest

from gtm_assets.checks.dbt_tests import meaning
from gtm_assets.dbt_runner import manifest_path
from gtm_assets.definitions import defs


def singular(sql: str) -> dict:
    return {"name": "deals_add_up", "raw_code": sql}


def test_every_check_of_the_graph_says_what_holds():
    nodes = json.loads(manifest_path().read_text())["nodes"].values()
    said = {node["name"]: meaning(node) for node in nodes if node["resource_type"] == "test"}
    graph = defs.resolve_asset_graph()
    descriptions = {key.name: graph.get(key).description for key in graph.asset_check_keys}

    assert {name: descriptions[name] for name in said} == said
    assert [name for name, text in descriptions.items() if not text] == []
    assert [text for text in said.values() if "{" in text or "  " in text or not text.endswith(".")] == []


def test_a_relationship_names_both_sides():
    node = {
        "name": "relationships_fct_task",
        "test_metadata": {
            "name": "relationships",
            "kwargs": {"column_name": "owner_user_key", "to": "ref('dim_user')", "field": "user_key"},
        },
    }

    assert meaning(node) == "Each owner_user_key is a user_key of dim_user."


def test_a_singular_test_says_it_in_its_first_comment():
    assert meaning(singular("-- Deals add up,\n-- to the cent.\nselect 1")) == "Deals add up, to the cent."
    with pytest.raises(ValueError, match="deals_add_up: begin its file with a comment"):
        meaning(singular("select 1 -- nothing"))


def test_a_kind_of_test_that_nobody_explained_is_refused():
    with pytest.raises(ValueError, match=r"odd_days: say in .* what is_odd means"):
        meaning({"name": "odd_days", "test_metadata": {"name": "is_odd", "kwargs": {}}})
