"""Each dbt test is a check that says what holds, and whose failure says how many rows are against it."""

import json
import shutil

import duckdb
import pytest

from gtm_assets.dbt.project import TransformError, manifest_path
from gtm_assets.dbt.sample import rows_of
from gtm_assets.dbt.tests import failure, meaning
from gtm_assets.definitions import defs
from gtm_assets.engines.files import connect
from gtm_assets_tests.change_logs import id_of
from gtm_assets_tests.dbt_harness import (
    CREATED,
    TABLES,
    Home,
    at,
    empty_tables,
    parsed,
    partition,
    user,
    with_ancestors,
)

KEY = "primary_key_fct_email_message_email_message_id"
KEYS = "fct_email_message_keys_resolve"
EQUALS = "fct_email_message_equals_staging"


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


def test_the_keys_of_a_table_are_named_with_where_they_point():
    node = {
        "name": "fct_task_keys_resolve",
        "test_metadata": {
            "name": "foreign_keys",
            "kwargs": {
                "keys": {
                    "owner_user_key": {"to": "ref('dim_user')", "field": "user_key"},
                    "date_key": {"to": "ref('dim_date')", "field": "date_key"},
                }
            },
        },
    }

    assert meaning(node) == (
        "Never null, and each found where it points: owner_user_key (dim_user.user_key), "
        "date_key (dim_date.date_key)."
    )


def test_a_fact_that_equals_staging_says_in_what():
    arguments = {"staging": "ref('stg_a__task')", "key": "id", "columns": {"amount": "staged.amount"}}
    node = {"name": "a", "test_metadata": {"name": "equals_staging", "kwargs": arguments}}

    assert meaning(node) == "It holds what stg_a__task holds, record for record, with the same amount."


def test_a_singular_test_says_it_in_its_first_comment():
    assert meaning(singular("-- Deals add up,\n-- to the cent.\nselect 1")) == "Deals add up, to the cent."
    with pytest.raises(TransformError, match="deals_add_up: begin its file with a comment"):
        meaning(singular("select 1 -- nothing"))


def test_a_kind_of_test_that_nobody_explained_is_refused():
    with pytest.raises(TransformError, match=r"odd_days: say in .* what is_odd means"):
        meaning({"name": "odd_days", "test_metadata": {"name": "is_odd", "kwargs": {}}})


def test_values_that_are_not_accepted_are_counted_by_rows_and_named(tmp_path):
    home = Home(tmp_path / "gtm")
    divisions = ["North", "Nowhere", "Nowhere", "It's elsewhere", None, "South", "Nowhere"]
    home.land("user", partition(2), *(user(n, at(2), division=value) for n, value in enumerate(divisions)))
    home.build("+stg_salesforce__user")

    result = home.dbt("test", "--select", "stg_salesforce__user,test_name:accepted_values")

    (found,) = (ran for ran in result.result.results if ran.failures)
    with connect(home.path / "warehouse.duckdb") as connection:
        rows = rows_of(connection, found.node.compiled_code)
    assert found.status == "warn"
    assert failure(found.node.to_dict(), found.failures, rows).startswith(
        "Rows against it: 4. Their values: Nowhere (3), It's elsewhere (1). division is one of: North, South,"
    )


def test_what_is_against_a_key_is_counted_in_keys():
    node = {"name": "a", "test_metadata": {"name": "primary_key", "kwargs": {"column_name": "id"}}}

    assert failure(node, 2, []) == "Keys against it: 2. id is unique and never null."


@pytest.fixture(scope="module")
def emails(tmp_path_factory) -> Home:
    """A fact with one email, whose sender is known, and its dimensions."""
    home = Home(tmp_path_factory.mktemp("tests") / "gtm").seed()
    sent = {"created_by_id": id_of("user", 1), "created_date": CREATED, "message_date": at(2), "is_deleted": False}
    home.land("user", partition(2), user(1, at(2)))
    home.land("email_message", partition(2), {"id": id_of("email_message", 1), "system_modstamp": at(2)} | sent)
    empty_tables(home, *TABLES)
    home.build(*with_ancestors("fct_email_message", "dim_user", "dim_account_scd2", "dim_date"))
    return home


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        ("select 1", set()),
        ("insert into {0} from {0}", {KEY}),
        ("delete from {0}", {EQUALS}),
        ("update {0} set open_count = 7", {EQUALS}),
        ("update {0} set email_message_id = null", {KEY, EQUALS}),
        ("update {0} set owner_user_key = null", {KEYS}),
        ("update {0} set owner_user_key = 'nobody'", {KEYS}),
        ("update {0} set click_count = -1", {"fct_email_message_is_seldom_negative", EQUALS}),
    ],
)
def test_the_tests_of_all_tables_find_what_is_against_them(emails, plant, found):
    assert against(emails, "fct_email_message", plant) == found


def test_a_null_is_found_in_each_column_of_the_list(emails):
    listed = next(
        node.test_metadata.kwargs["columns"]
        for node in parsed().nodes.values()
        if node.name == "dim_account_scd2_has_no_nulls"
    )
    for column in listed:
        plant = f"update {{0}} set {column} = null"
        assert against(emails, "dim_account_scd2", plant, "dim_account_scd2_has_no_nulls"), column


def test_each_key_of_the_list_is_looked_up_and_named(emails):
    keys = next(node.test_metadata.kwargs["keys"] for node in parsed().nodes.values() if node.name == KEYS)
    for column in keys:
        of_no_row = "0" if column.endswith("date_key") else "'nobody'"
        for value in ("null", of_no_row):
            plant = f"update {{0}} set {column} = {value}"
            assert against(emails, "fct_email_message", plant, KEYS) == {KEYS}, (column, value)


def against(home: Home, model: str, plant: str, tests: str | None = None) -> set[str]:
    """Those tests, by default a core table's own, that find something once the fault is in. The home stays."""
    warehouse, kept = home.path / "warehouse.duckdb", home.path / "kept.duckdb"
    shutil.copyfile(warehouse, kept)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute(plant.format(f"gtm_core.{model}"))
    ended = home.dbt("test", "--select", tests or f"{model},test_type:generic")
    shutil.copyfile(kept, warehouse)
    assert "error" not in {r.status for r in ended.result.results}
    return {r.node.name for r in ended.result.results if r.failures}
