"""Column lineage: what the columns of a model are made of."""

import json

import dagster as dg
import pytest

from gtm_assets.dbt.lineage import METADATA_KEY, columns_of
from gtm_assets.dbt.project import manifest_path


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        pytest.param(
            "select a, b + c as d from t", {"a": {("t", "a")}, "d": {("t", "b"), ("t", "c")}}, id="one table"
        ),
        pytest.param(
            "with x as (select * from s.t), y as (select a as b from x) select b, 1 as one from y",
            {"b": {("t", "a")}, "one": set()},
            id="renamed after all columns were taken",
        ),
        pytest.param(
            "with x as (select a from t), y as (select x.*, u.b from x left join u on x.a = u.a) select * from y",
            {"a": {("t", "a")}, "b": {("u", "b")}},
            id="all columns of one side of a join",
        ),
        pytest.param(
            "select a, b from t union all select c, d from u",
            {"a": {("t", "a"), ("u", "c")}, "b": {("t", "b"), ("u", "d")}},
            id="a union goes by place",
        ),
        pytest.param(
            "with x as (select null as a, null as b where false"
            " union all by name select * from read_parquet(['f'])) select b, a from x",
            {"b": {("", "b")}, "a": {("", "a")}},
            id="files",
        ),
        pytest.param("select * from (select null as a where false)", {"a": {("", "a")}}, id="no files"),
        pytest.param(
            "select (select max(u.b) from u where u.a = t.a) as most from t",
            {"most": {("u", "b"), ("u", "a"), ("t", "a")}},
            id="a query within",
        ),
        pytest.param(
            "with recursive x as (select id, boss from t"
            " union all select x.id, t.boss from x join t on x.boss = t.id) select id, boss from x",
            {"id": {("t", "id")}, "boss": {("t", "boss")}},
            id="a query that reads itself",
        ),
        pytest.param(
            "with t as (select a from u), z as (select a from t) select rank() over (order by a) as n from z",
            {"n": {("u", "a")}},
            id="a name of ours that is also a table's",
        ),
        pytest.param(
            "select coalesce(is_won, false) as is_won, is_closed and is_won as is_lost from t",
            {"is_won": {("t", "is_won")}, "is_lost": {("t", "is_closed"), ("t", "is_won")}},
            id="an alias that is also a column",
        ),
    ],
)
def test_a_column_is_made_of_those_that_its_expression_names(sql, expected):
    assert columns_of(sql, "duckdb") == expected


def test_each_described_column_of_each_model_shows_what_it_is_made_of(built_home):
    manifest = json.loads(manifest_path().read_text())
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    shown, made_of_nothing = {}, {}
    with dg.DagsterInstance.from_config(str(built_home.path / "dagster")) as instance:
        for node in models:
            built = instance.get_latest_materialization_event(dg.AssetKey([node["schema"], node["alias"]]))
            shown[node["name"]] = built.asset_materialization.metadata[METADATA_KEY].value.deps_by_column

    for node in models:
        found = shown[node["name"]]
        assert node["columns"].keys() <= found.keys(), node["name"]
        made_of_nothing[node["name"]] = [name for name in node["columns"] if not found[name]]

    assert len(models) > 130
    # What counts rows, a constant and the place of a batch in the lake are made of no column.
    others = {
        f"{model}.{column}"
        for model, columns in made_of_nothing.items()
        for column in columns
        if column not in ("source_system", "_partition_key", "as_of_date") and "count" not in column
    }
    assert others == {
        "int_activity__pipedrive.activity_source",
        "int_activity__pipedrive.is_also_a_task",
        "int_activity__salesforce.activity_source",
        "int_amount_currencies.amounts_of",
        "int_pipeline_periods.period_type",
        "int_reporting_lines.is_direct",
        "fct_opportunity_stage_history.interval_number",
        "fct_opportunity_stage_history.entry_source",
    }
    stage = shown["stg_salesforce__opportunity"]["owner_user_id"]
    assert [(dep.asset_key.path[-1], dep.column_name) for dep in stage] == [
        ("base_salesforce__opportunity", "owner_id")
    ]
    base = shown["base_salesforce__opportunity"]["amount"]
    assert [(dep.asset_key.to_user_string(), dep.column_name) for dep in base] == [
        ("salesforce/opportunity", "amount")
    ]
