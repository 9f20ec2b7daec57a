"""The dbt project as a whole: it builds from nothing, says what it holds, and stays portable."""

import os
import re

import pytest
import yaml
from dbt.artifacts.resources.types import NodeType
from dbt.artifacts.schemas.results import NodeStatus

from gtm_assets.dbt.project import TransformError, dbt_environment, run_dbt
from gtm_assets.engines import address, spark
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.engines.iceberg_catalog import Warehouse
from gtm_assets.settings import PREFIX, RENAMED, TOLD_TO_DBT, Settings, load_settings
from gtm_assets.sources.pipedrive.catalog import TABLES as PIPEDRIVE_TABLES
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets_tests.dbt_harness import DBT_DIR, Home, describe, parsed

ENGINES = ("duckdb", "postgres", "spark")
# What only some engines know, or understand differently.
NOT_PORTABLE = {
    r"\bqualify\b": "QUALIFY",
    r"\bexclude\s*\(": "EXCLUDE",
    r"\*\s*replace\s*\(": "REPLACE",
    r"\bdistinct\s+on\b": "DISTINCT ON",
    r"\basof\b": "ASOF",
    r"\bby\s+name\b": "UNION BY NAME",
    r"\bunpivot\b": "UNPIVOT",
    r"\bcolumns\s*\(": "COLUMNS()",
    r"//": "//",
    r"::": "::",
    r'"\w+"\s*[.,]': "double-quoted identifiers",
    r"\bextract\s*\(\s*(dow|isodow)\b": "extract(dow)",
    r"\bcurrent_(date|timestamp)\b|\bnow\s*\(": "the clock",
    r"\bselect\s+distinct\b": "select distinct",
    r"\bas\s+(varchar|double|timestamp)\b": "a type that engines name differently, without engine_type()",
}

# A source's own model of an entity: which entity, and which source.
FEEDS_CORE = re.compile(r"int_(?P<entity>[a-z]\w*?)__(?P<source>[a-z]+)")


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Home:
    """A home whose lake is empty, with all models built."""
    home = Home(tmp_path_factory.mktemp("dbt") / "gtm")
    result = home.dbt("build", "--exclude", "resource_type:unit_test")
    assert result.success, describe(result)
    return home


def models():
    nodes = parsed().nodes.values()
    return sorted((n for n in nodes if n.resource_type == NodeType.Model), key=lambda node: node.name)


def test_all_models_build_from_an_empty_lake_and_every_test_passes(empty):
    assert empty.rows("select count(*) from gtm_core.fct_opportunity") == [(0,)]
    assert empty.rows("select count(*) from gtm_core.dim_user") == [(1,)]


def test_where_there_are_no_records_nothing_is_counted(empty):
    """The unknown members are rows, and neither people nor accounts nor products."""
    columns = empty.rows(
        "select table_schema || '.' || table_name, column_name from information_schema.columns"
        " where table_schema in ('gtm_core', 'gtm_mart') and column_name like '%\\_count' escape '\\'"
    )
    counts = [(table, f"sum({column})") for table, column in columns]
    for model in parsed().semantic_models.values():
        relation = f"{model.node_relation.schema_name}.{model.node_relation.alias}"
        counts += [(relation, f"count({m.expr})") for m in model.measures if m.agg.value.startswith("count")]
    assert len(counts) > 60

    found = {f"{table} {count}": empty.rows(f"select {count} from {table}")[0][0] for table, count in counts}
    assert {name: count for name, count in found.items() if count} == {}


def test_the_unit_tests_pass(empty):
    result = empty.dbt("test", "--select", "test_type:unit")

    assert result.success, describe(result)
    assert len([r for r in result.result if r.status == NodeStatus.Pass]) >= 6


def test_each_raw_table_has_a_base_and_a_staging_model():
    names = {model.name for model in models()}

    for table in (*OBJECTS, *PIPEDRIVE_TABLES):
        assert {f"base_{table.source}__{table.name}", f"stg_{table.source}__{table.name}"} <= names


def test_each_model_is_described_beside_its_sql_with_its_unit_tests():
    """``x.yml`` beside ``x.sql`` holds the model x and the unit tests of x, and nothing else."""
    here = {path.stem: path.with_suffix(".yml") for path in (DBT_DIR / "models").rglob("*.sql")}
    wrong = []
    for name, path in here.items():
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        described = [model["name"] for model in content.get("models", [])]
        tested = {test["model"] for test in content.get("unit_tests", [])}
        if described != [name] or not tested <= {name} or not set(content) <= {"version", "models", "unit_tests"}:
            wrong.append(str(path.relative_to(DBT_DIR)))
    for path in sorted({*(DBT_DIR / "models").rglob("*.yml")} - {*here.values()}):
        if {"models", "unit_tests"} & set(yaml.safe_load(path.read_text(encoding="utf-8"))):
            wrong.append(str(path.relative_to(DBT_DIR)))

    assert wrong == []


def test_each_model_says_its_grain_and_each_column_what_it_holds(empty):
    for model in models():
        assert re.search(r"one row per", model.description, re.IGNORECASE), f"{model.name}: no grain"
        described = {c.name for c in model.columns.values() if c.description}
        assert described == set(model.columns), f"{model.name}: columns without a description"
        if model.name.startswith("base_"):
            continue  # Its columns are the source's, described there.
        built = empty.rows(
            "select column_name from information_schema.columns"
            f" where table_schema = '{model.schema}' and table_name = '{model.name}'"
        )
        assert {name for (name,) in built} == described, f"{model.name}: yml and SQL differ"


def test_core_and_mart_have_enforced_contracts_and_say_the_source_system():
    for model in models():
        if model.fqn[1] in ("core", "mart"):
            assert model.config.contract.enforced, model.name
            assert "source_system" in model.columns, model.name


def data_tests(generic: bool):
    """The tests made from a generic one by a line of yml, or those that are a file of their own."""
    nodes = parsed().nodes.values()
    return [n for n in nodes if n.resource_type == NodeType.Test and hasattr(n, "test_metadata") == generic]


def test_each_model_has_a_key_that_is_tested():
    """A view that filters one table whose key is tested has that key: it is not counted again.

    What feeds core by a union has its key tested there.
    """
    kinds = ("primary_key", "unique")
    tested = {test.attached_node for test in data_tests(generic=True) if test.test_metadata.name in kinds}
    filtered = {model.unique_id for model in models() if filters_one_of(model, tested)}

    feeding = {model.unique_id for model in models() if FEEDS_CORE.fullmatch(model.name)}

    assert {model.unique_id for model in models()} <= tested | filtered | feeding
    assert len(filtered) >= len(OBJECTS)


def filters_one_of(model, tested: set[str]) -> bool:
    """Whether the model is a view of one tested table, with its id and without what could make a row two."""
    sql = re.sub(r"--[^\n]*", "", model.raw_code)
    adds_rows = re.search(r"\b(join|union|unnest|lateral|group)\b|\bfrom\b[^()]*,", sql, re.IGNORECASE)
    is_view = model.config.materialized == "view" and set(model.depends_on.nodes) <= tested
    return is_view and len(model.refs) == 1 and bool(re.search(r"\bid as \w+_id,", sql)) and not adds_rows


def source_of(name: str) -> str | None:
    """The source that a model or seed belongs to: staging, what feeds core from it, what it is looked up in."""
    sources = "|".join(sorted({source.source_name for source in parsed().sources.values()}))
    found = re.fullmatch(rf"(?:(?:base|stg|int)_)?(?:[a-z]\w*?__)?({sources})(?:_\w+)?", name)
    return found and found[1]


def named_sources(model) -> set[str]:
    """The sources whose models this model's SQL names itself; that the union names them does not count."""
    names = re.findall(r"ref\(\s*'(\w+)'\s*\)", model.raw_code)
    return {source for name in names if (source := source_of(name)) is not None}


def test_sources_meet_in_unions_alone():
    """What is no source's own names Salesforce's models alone, and none where it reads a union of sources."""
    wrong = []
    for model in models():
        unites = "union_of_sources(" in model.raw_code
        if source_of(model.name) is None and not named_sources(model) <= (set() if unites else {"salesforce"}):
            wrong.append(f"{model.name} names models of {', '.join(sorted(named_sources(model)))}")
        if source_of(model.name) is not None and unites:
            wrong.append(f"{model.name} is one source's and reads a union")

    assert wrong == []
    assert sum("union_of_sources(" in model.raw_code for model in models()) >= 7


def test_each_model_that_feeds_core_is_in_a_union():
    project = yaml.safe_load((DBT_DIR / "dbt_project.yml").read_text(encoding="utf-8"))
    sources = {(entity, source) for entity, names in project["vars"]["sources_of"].items() for source in names}

    assert sources == {(m["entity"], m["source"]) for model in models() if (m := FEEDS_CORE.fullmatch(model.name))}


def test_core_and_mart_do_not_fill_columns_that_a_source_lacks():
    """The union does: a model with nulls for columns side by side has a source of its own in it."""
    nulls = re.compile(r"^\s*(?:cast\()?null(?: as [^\n]+\))? as \w+,?\n", re.MULTILINE)
    several = [m.name for m in models() if m.fqn[1] in ("core", "mart") and len(nulls.findall(m.raw_code)) > 1]

    assert several == []


def test_a_test_over_several_models_says_to_which_it_belongs():
    """Else it shows as a check of none of them."""
    for test in data_tests(generic=False):
        if len(test.depends_on.nodes) > 1:
            names = {node.split(".")[-1] for node in test.depends_on.nodes}
            assert test.config.meta["dagster"]["ref"]["name"] in names, test.name


def test_models_avoid_what_other_engines_do_not_know():
    paths = sorted((DBT_DIR / "models").rglob("*.sql"))
    wrong = {}
    for path in paths:
        sql = re.sub(r"--[^\n]*|\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", " ", path.read_text(), flags=re.DOTALL).lower()
        if found := [what for pattern, what in NOT_PORTABLE.items() if re.search(pattern, sql)]:
            wrong[path.stem] = found

    assert len(paths) > 100
    assert wrong == {}


def test_what_dbt_reads_of_the_environment_is_what_it_is_told(tmp_path, monkeypatch):
    """One list of variables, and none of a prefix of its own."""
    files = [DBT_DIR / "profiles.yml", DBT_DIR / "dbt_project.yml", *sorted((DBT_DIR / "macros").rglob("*.sql"))]
    files += sorted((DBT_DIR / "models").rglob("*.sql"))
    read = {name for path in files for name in re.findall(r"env_var\(\s*'(\w+)'", path.read_text())}

    told = dbt_environment(load_settings({"GTM_HOME": str(tmp_path)}), DuckDB(tmp_path / "warehouse.duckdb"))

    of_postgres = address.dbt_environment("postgresql://user@host/database")
    # The driver reads it, not dbt.
    del of_postgres["PGOPTIONS"]
    monkeypatch.setattr(spark, "JARS", tmp_path)
    (tmp_path / "iceberg.jar").touch()
    of_spark = spark.dbt_environment(Warehouse.of(tmp_path))
    assert read - set(RENAMED) == set(told) | set(of_postgres) | set(of_spark) | {"GTM_SCHEMA_PREFIX"}
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unsaid = read - set(RENAMED) - known
    assert {name for name in unsaid if not name.startswith("DBT_ENV_SECRET_")} == TOLD_TO_DBT


def test_the_environment_is_as_it_was_when_dbt_has_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("GTM_HOME", "/before")
    before = dict(os.environ)
    settings = load_settings({"GTM_HOME": str(tmp_path)})

    list(
        run_dbt(
            ["run-operation", "meta_table", "--args", "name: x"], settings, DuckDB(tmp_path / "warehouse.duckdb")
        )
    )
    assert dict(os.environ) == before

    with pytest.raises(TransformError):
        list(run_dbt(["run-operation", "no_such_macro"], settings, DuckDB(tmp_path / "warehouse.duckdb")))
    assert dict(os.environ) == before


def test_a_build_takes_the_memory_that_the_setting_says(empty, monkeypatch):
    monkeypatch.setenv("GTM_MEMORY_LIMIT", "700MiB")
    shown = empty.dbt("show", "--inline", "select current_setting('memory_limit') as taken")

    assert shown.result.results[0].agate_table.rows[0][0] == "700.0 MiB"


def test_what_an_engine_says_in_its_own_way_lies_in_its_folder():
    macros = [macro for macro in parsed().macros.values() if macro.package_name == "gtm_dbt"]
    places = {engine: f"macros/engine/{engine}/" for engine in ENGINES}
    misplaced = {
        macro.name
        for macro in macros
        for engine, place in places.items()
        if macro.name.startswith(f"{engine}__")
        # External tables are DuckDB's alone: their folder needs no second one.
        and not macro.original_file_path.startswith((place, "macros/external/"))
    }
    assert misplaced == set()
    assert {path.name for path in (DBT_DIR / "macros" / "engine").iterdir() if path.is_dir()} == set(ENGINES)


def test_an_engine_that_a_macro_was_not_written_for_is_refused_by_name(empty):
    """dbt refuses a dispatched macro that there is not for the engine: it never takes another engine's."""
    macros = {macro.name for macro in parsed().macros.values() if macro.package_name == "gtm_dbt"}
    written = "".join(path.read_text() for path in (DBT_DIR / "macros").rglob("*.sql"))
    dispatched = set(re.findall(r"adapter\.dispatch\('(\w+)', 'gtm_dbt'\)", written))
    assert len(dispatched) > 20
    for engine in ENGINES:
        assert {name for name in dispatched if f"{engine}__{name}" not in macros} == set()
    assert {name for name in macros if name.startswith("default__")} == set()

    without = parsed().deepcopy()
    del without.macros["macro.gtm_dbt.duckdb__local_date"]
    refused = Home(empty.path, without).dbt("compile", "--select", "fct_task")
    assert "No macro named 'local_date' found" in describe(refused)
