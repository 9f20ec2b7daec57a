"""Columns that a team passes through are looked up before anything is built; what is wrong is said all at once."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime

import duckdb
import pytest

from gtm_assets.cli.doctor import examine
from gtm_assets.dbt import project as dbt_runner
from gtm_assets.dbt.project import TransformError, build_arguments, run_dbt
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.settings import load_settings
from gtm_assets_tests.dbt_harness import (
    DBT_DIR,
    BuildError,
    Home,
    at,
    empty_tables,
    opportunity,
    parsed,
    partition,
)

HEAD = "the var pass_through_columns can not be followed, so nothing was built. Mend it in dbt_project.yml:"


def faults(home: Home, given: object) -> list[str]:
    """The sentences with which a build is refused; none where it is not."""
    try:
        home.build("base_salesforce__opportunity", variables={"pass_through_columns": given})
    except BuildError as error:
        said = str(error)
        assert HEAD in said
        return re.findall(r"^\s*pass_through_columns (.*)$", said, flags=re.MULTILINE)
    return []


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Home:
    """A lake with one opportunity, which has three columns beside the catalogue."""
    home = Home(tmp_path_factory.mktemp("lake") / "gtm")
    home.land(
        "opportunity",
        partition(2),
        opportunity(1, at(2), my_field_c="x", my_score_c=0.5, my_day_c="2026-01-02", quantity_c="12"),
    )
    empty_tables(home, "task")
    return home


@pytest.fixture(scope="module")
def external(tmp_path_factory) -> Home:
    """The same from external tables, under API names."""
    folder = tmp_path_factory.mktemp("external")
    with duckdb.connect(str(folder / "external.duckdb")) as connection:
        connection.execute("create schema gtm_raw")
        connection.execute(
            "create table gtm_raw.opportunity as select '006a' as id, 'x' as My_Field__c, 0.5::double as"
            " my_score_c, '2026-01-02' as My_Day__c, '12' as Quantity__c, now() as _fivetran_synced"
        )
    return Home(folder / "gtm", external=folder / "external.duckdb")


TYPES = sorted(
    {
        column.data_type
        for source in parsed().sources.values()
        if source.source_name == "salesforce"
        for column in source.columns.values()
    }
)


AS_LIST = "which is no list: write it like opportunity: [my_field_c]"
AS_COLUMN = "which is no column: write its name, or {name: my_field_c, data_type: double}"
OTHERWISE = "to something else: leave it out, or let the source call it otherwise"
TWICE = "names opportunity.my_field_c more than once: leave one of them"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["my_field_c"], ["is ['my_field_c'], which names no object: write it like opportunity: [my_field_c]"]),
        ({"Opportunity": ["my_field_c"]}, ["names Opportunity by its name in Salesforce: write opportunity"]),
        ({"Product2": ["my_field_c"]}, ["names Product2 by its name in Salesforce: write product_2"]),
        ({"opportunity": "my_field_c"}, [f"names opportunity with my_field_c, {AS_LIST}"]),
        ({"opportunity": [""]}, [f"names opportunity with , {AS_COLUMN}"]),
        (
            {"opportunity": ["group", "table"]},
            [f"names opportunity.{word}, a name that SQL gives {OTHERWISE}" for word in ("group", "table")],
        ),
        ({"opportunity": {"name": "x_c"}}, [f"names opportunity with {{'name': 'x_c'}}, {AS_LIST}"]),
        (
            {"opportunity": [5, {"data_type": "double"}]},
            [
                f"names opportunity with 5, {AS_COLUMN}",
                f"names opportunity with {{'data_type': 'double'}}, {AS_COLUMN}",
            ],
        ),
        (
            {"opportunity": [{"name": "my_field_c", "type": "double"}]},
            [
                "gives opportunity.my_field_c the key type, which says nothing: a column has the keys name and "
                "data_type"
            ],
        ),
        (
            {"opportunity": [{"name": "my_field_c", "data_type": "strin"}]},
            [
                "gives opportunity.my_field_c the data_type strin, which no raw column has: write one of "
                + ", ".join(TYPES)
            ],
        ),
        (
            {"opportunity": ["MyField__c", "My_Field__c"]},
            ["names opportunity.MyField__c by its name in Salesforce: write my_field_c", TWICE],
        ),
        ({"opportunity": ["my_field_c", "MY_FIELD_C", {"name": "my_field_c", "data_type": "varchar"}]}, [TWICE]),
        (
            {"opportunity": ["StageName"]},
            [
                "names opportunity.StageName, which is in the catalogue as stage_name: leave it out, and select "
                "it in the models where they lack it"
            ],
        ),
        # Columns of core and of staging, one that the SQL makes on the way, the loader's.
        (
            {
                "opportunity": [
                    "amount_converted",
                    "closed_at",
                    "opportunity_name",
                    "days_to_close",
                    "_partition_key",
                ]
            },
            [
                f"names opportunity.amount_converted, a name that fct_opportunity gives {OTHERWISE}",
                f"names opportunity.closed_at, a name that fct_opportunity gives {OTHERWISE}",
                "names opportunity.opportunity_name, a name that fct_opportunity and int_opportunity__salesforce "
                f"and stg_salesforce__opportunity give {OTHERWISE}",
                # What another source calls so would be one column with it.
                "names opportunity.days_to_close, a name that fct_opportunity and int_opportunity__pipedrive and "
                f"int_opportunity__salesforce give {OTHERWISE}",
                f"names opportunity._partition_key, a name that the loader gives {OTHERWISE}",
            ],
        ),
    ],
)
def test_what_is_wrong_with_the_var_itself_is_said(lake, given, said):
    assert faults(lake, given) == said
    assert built(lake) == []


def built(home: Home) -> list[tuple]:
    return home.rows("select table_name from information_schema.tables where table_schema = 'gtm_staging'")


LACKING = (
    "names opportunity.my_feld_c, which {} lacks: name one of those that it has beside the catalogue "
    "(my_day_c, my_field_c, my_score_c, quantity_c), or leave it out"
)


def test_a_column_that_the_lake_lacks_is_said_with_those_that_it_has(lake):
    (said,) = faults(lake, {"opportunity": ["my_feld_c"], "task": ["of_no_record_c"]})

    assert said == LACKING.format("the lake")


def test_a_column_that_the_landing_lacks_is_said_with_those_that_it_has(external):
    (said,) = faults(external, {"opportunity": ["my_feld_c"], "task": ["of_no_table_c"]})

    assert said == LACKING.format("the external table opportunity")


@pytest.mark.parametrize("home", ["lake", "external"])
@pytest.mark.parametrize(
    ("column", "data_type"),
    [
        ("my_field_c", "date"),
        ("my_field_c", "boolean"),
        ("my_score_c", "bigint"),
        ("my_score_c", "date"),
        ("my_score_c", "boolean"),
        ("my_score_c", "timestamp with time zone"),
    ],
)
def test_a_column_of_another_type_is_said_with_a_value(request, home, column, data_type):
    home = request.getfixturevalue(home)
    id_ = "006a" if home.external else opportunity(1, at(2))["id"]
    example = {"my_field_c": "x", "my_score_c": "0.5"}[column]
    # What the catalogue does not name lands in the lake as text.
    fitting = "double" if home.external and column == "my_score_c" else "varchar"

    assert faults(home, {"opportunity": [{"name": column, "data_type": data_type}]}) == [
        f"gives opportunity.{column} the data_type {data_type}, which 1 of its values are not, such as {example} "
        f"of {id_}: write data_type: {fitting}, or another that they are"
    ]


@pytest.mark.parametrize("home", ["lake", "external"])
def test_what_can_be_read_as_its_type_is_passed_through(request, home):
    home = request.getfixturevalue(home)
    given = [
        "my_field_c",
        {"name": "My_Score_C", "data_type": "DOUBLE"},
        {"name": "my_day_c", "data_type": "date"},
        {"name": "quantity_c", "data_type": "bigint"},
    ]

    assert faults(home, {"opportunity": given}) == []
    columns = "my_field_c, my_score_c, my_day_c::varchar, quantity_c"
    assert home.rows(f"select {columns} from gtm_staging.base_salesforce__opportunity") == [
        ("x", 0.5, "2026-01-02", 12)
    ]


def test_all_faults_of_all_objects_are_said_at_once(lake):
    found = faults(
        lake,
        {
            "acount": ["tier_c"],
            "account": ["industry"],
            "opportunity": ["my_feld_c", {"name": "my_score_c", "data_type": "bigint"}],
        },
    )

    assert [fault.split(",")[0].split(":")[0] for fault in found] == [
        "names acount",
        "names account.industry",
        "names opportunity.my_feld_c",
        "gives opportunity.my_score_c the data_type bigint",
    ]


def test_a_new_batch_is_looked_at_where_older_ones_were_built(tmp_path):
    home = Home(tmp_path / "gtm")
    home.land("opportunity", partition(2), opportunity(1, at(2), my_score_c="1"))
    given = {"opportunity": [{"name": "my_score_c", "data_type": "double"}]}
    assert faults(home, given) == []
    home.land("opportunity", partition(3), opportunity(2, at(3)))
    assert faults(home, given) == []
    home.land("opportunity", partition(4), opportunity(3, at(4), my_score_c="many"))

    (said,) = faults(home, given)
    assert f"1 of its values are not, such as many of {opportunity(3, at(4))['id']}:" in said


def test_the_doctor_tells_and_a_build_is_refused_in_the_same_words(lake, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(DBT_DIR, project, ignore=shutil.ignore_patterns("target", "logs"))
    text = (project / "dbt_project.yml").read_text()
    given = text.replace("pass_through_columns: {}", "pass_through_columns: {opportunity: [my_feld_c]}")
    assert given != text
    (project / "dbt_project.yml").write_text(given)
    monkeypatch.setattr(dbt_runner, "DBT_DIR", project)
    monkeypatch.setattr(dbt_runner, "TARGET_DIR", project / "target")
    # dbt is told by the environment.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    settings = load_settings({"GTM_HOME": str(lake.path)})

    wrong = [
        finding.sentence
        for finding in examine(lambda: settings, datetime(2026, 10, 5, tzinfo=UTC))
        if not finding.ok
    ]
    select = ["base_salesforce__opportunity"]
    with pytest.raises(TransformError) as refused:
        list(run_dbt(build_arguments(select), settings, DuckDB(tmp_path / "warehouse.duckdb")))

    said = f"{HEAD}\npass_through_columns {LACKING.format('the lake')}"
    assert said in wrong
    assert str(refused.value) == said


def test_what_is_passed_through_is_in_the_contract_by_the_pre_hook_alone(tmp_path):
    """dbt holds a model to `model.columns` as its pre-hooks leave them: `extend_contract` leans on that."""
    home = Home(tmp_path / "gtm").seed()
    given = {"pass_through_columns": {"period": ["tier_c"]}}
    home.land("period", partition(2), {"id": "026a", "system_modstamp": at(2), "tier_c": "Gold"})
    home.build("+dim_forecasting_period", variables=given)
    assert ("tier_c",) in home.rows("select column_name from information_schema.columns")

    without = parsed().deepcopy()
    without.nodes["model.gtm_dbt.dim_forecasting_period"].config.pre_hook = []
    home.manifest = without
    with pytest.raises(BuildError, match=r"(?s)contract.*tier_c"):
        home.build("dim_forecasting_period", variables=given)
