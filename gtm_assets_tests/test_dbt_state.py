"""A build leaves out what has not changed, and what it leaves out is what a build of everything would give.

The rules are tried one by one on small lakes, then together over random sequences of landings, changed code,
changed settings and builds: after each step tables and verdicts are those of a full refresh.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pytest
from dbt.contracts.graph.manifest import Manifest
from dbt.task.build import BuildTask

from gtm_assets.dbt.external import models_now
from gtm_assets.dbt.project import project_variables
from gtm_assets.dbt.runners import DEFINED, Keeper, leave_out_unchanged
from gtm_assets.dbt.state import (
    Code,
    Inputs,
    States,
    contents_of_lake,
    tell_what_models_are_made_of,
)
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets_tests.change_logs import ChangeLog, id_of
from gtm_assets_tests.dbt_harness import (
    PIPEDRIVE,
    Home,
    account,
    at,
    describe,
    empty_tables,
    incremental_models,
    opportunity,
    parsed,
    partition,
    user,
)

MODELS = ("dim_account", "dim_user", "fct_opportunity_history", "stg_salesforce__opportunity")
"""Built with all that they are made of: tables, views, and models that build on themselves."""
TABLES = ("account", "opportunity", "user", "user_role")
MORE_MODELS = (*MODELS, "fct_task", "fct_event", "fct_activity", "fct_opportunity_stage_history", "dim_lead")
MORE_TABLES = (*TABLES, "contact", "event", "lead", "task")


class Build:
    """A build that leaves out what has not changed: what it said of each node, and which ones it left out."""

    def __init__(
        self,
        home: Home,
        force: bool = False,
        full_refresh: bool = False,
        variables: Mapping[str, Any] = MappingProxyType({}),
        models: Sequence[str] = MODELS,
        upstream: bool = True,
    ) -> None:
        """``upstream`` builds also what the models are made of."""
        path = home.path / "warehouse.duckdb"
        manifest = home.manifest or parsed()
        engine = DuckDB(path)
        states = States(engine)
        states.begin()

        def inputs() -> Inputs:
            with engine.connect() as connection:
                return Inputs(code, contents_of_lake(connection), str(models_now(connection)))

        keeper = Keeper(states, "run", force, inputs, engine)
        code = code_of(manifest, {**project_variables(), **variables})
        with _sparing(keeper), _told(manifest, code, states):
            result = home.dbt(
                "build",
                "--select",
                *(f"+{model}" if upstream else model for model in models),
                "--indirect-selection",
                "cautious",
                "--exclude-resource-type",
                "unit_test",
                *(["--full-refresh"] if full_refresh else []),
                variables=variables,
            )
        states.keep()
        assert result.exception is None, describe(result)
        self.statuses = {r.node.unique_id: str(r.status) for r in result.result}
        self.left_out = {id_.split(".")[2] for id_ in keeper.left_out}
        self.views_that_stood = {r.node.name for r in result.result if r.message == DEFINED}
        self.built = {
            id_.split(".")[2]
            for id_, status in self.statuses.items()
            if id_.startswith(("model.", "seed.")) and status == "success"
        } - self.left_out


def code_of(manifest: Manifest, variables: Mapping[str, Any] = MappingProxyType({})) -> Code:
    return Code(manifest.writable_manifest().to_dict(omit_none=False), variables, {}, is_external=False)


@contextmanager
def _told(manifest: Manifest, code: Code, states: States) -> Iterator[None]:
    tell_what_models_are_made_of(manifest, code, states)
    try:
        yield
    finally:
        # Other tests build by the same manifest.
        for node_id, node in manifest.nodes.items():
            node.config.meta.pop("made_of", None)
            manifest.flat_graph["nodes"][node_id]["config"]["meta"].pop("made_of", None)


@contextmanager
def _sparing(keeper: Keeper) -> Iterator[None]:
    before = dict(BuildTask.RUNNER_MAP)
    leave_out_unchanged(keeper)
    try:
        yield
    finally:
        BuildTask.RUNNER_MAP.update(before)


def changed(home: Home, model: str, before: str, after: str) -> None:
    """Let the code of a model, or of a macro, of the home's project say something else."""
    home.manifest = home.manifest or parsed().deepcopy()
    node = home.manifest.nodes.get(f"model.gtm_dbt.{model}")
    place: Any = node or home.manifest.macros[f"macro.gtm_dbt.{model}"]
    field = "raw_code" if node else "macro_sql"
    code = getattr(place, field)
    assert before in code
    setattr(place, field, code.replace(before, after, 1))


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Home, Build]:
    """A home that was built once, and what that build said."""
    home = Home(tmp_path_factory.mktemp("state") / "home")
    empty_tables(home, *PIPEDRIVE)
    home.land("account", partition(1), account(1, at(1)), account(2, at(1)))
    home.land("user", partition(1), user(1, at(1)))
    home.land("opportunity", partition(1), opportunity(1, at(1), account_id=id_of("account", 1)))
    empty_tables(home, *TABLES)
    return home, Build(home)


@pytest.fixture
def home(first, tmp_path) -> Home:
    """A copy of it."""
    shutil.copytree(first[0].path, tmp_path / "home")
    return Home(tmp_path / "home")


# -- what is left out ------------------------------------------------------------------------------------------


def test_where_nothing_has_changed_nothing_is_built_and_all_verdicts_stand(home, first):
    again = Build(home)

    assert not first[1].left_out
    assert not again.built
    assert again.statuses == first[1].statuses
    assert Build(home, force=True).built == first[1].built


def test_a_batch_builds_what_is_made_of_its_table_and_what_asks_for_now(home):
    home.land("account", partition(2), account(1, at(2), name="renamed"))

    build = Build(home)

    assert {"base_salesforce__account", "stg_salesforce__account", "dim_account"} <= build.built
    assert "fct_opportunity_history" in build.built, "a day more has its row"
    assert {"base_salesforce__user", "stg_salesforce__user", "dim_user"} <= build.left_out


def test_a_view_is_made_again_where_its_code_or_that_of_what_it_is_made_of_has_changed(home):
    view, upon = "stg_salesforce__opportunity", "base_salesforce__opportunity"
    home.land("opportunity", partition(2), opportunity(2, at(2)))

    build = Build(home)
    assert view in build.built & build.views_that_stood
    assert home.rows(f"select count(*) from gtm_staging.{view}") == [(2,)]

    changed(home, upon, "{{ base_table(", "-- Says the same.\n{{ base_table(")
    build = Build(home)
    assert view in build.built - build.views_that_stood

    changed(home, view, "    select *", "    -- Says the same too.\n    select *")
    build = Build(home)
    assert view in build.built - build.views_that_stood
    assert not Build(home, force=True).views_that_stood


def test_a_test_counts_its_rows_by_itself_or_as_its_yml_asks(home):
    test = "primary_key_base_salesforce__account_id"
    [node_id] = [i for i, n in parsed().nodes.items() if n.name == test]

    def status(**config: Any) -> str:
        home.manifest = parsed().deepcopy()
        vars(home.manifest.nodes[node_id].config).update(config)
        home.manifest.nodes[node_id].raw_code = "select 1 as id union all select 2"
        return Build(home, force=True, models=["base_salesforce__account"]).statuses[node_id]

    assert status() == "fail"
    assert status(severity="warn") == "warn"
    assert status(error_if="> 2", warn_if="> 1") == "warn"
    assert status(error_if="> 2", warn_if="> 2") == "pass"
    assert status(limit=1, error_if="> 1", warn_if="> 1") == "pass"


def test_a_table_that_comes_out_equal_leaves_out_what_is_made_of_it(home):
    changed(home, "dim_user", "with_unknown as (", "with_unknown as ( -- the row of whom nobody knows\n")

    assert Build(home).built == {"dim_user"}


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        ("stg_salesforce__account", "renamed as (", "renamed as ( -- a word\n"),
        ("salesforce_account_columns", "name as account_name", "'A ' || name as account_name"),
    ],
    ids=["a_view", "a_macro"],
)
def test_changed_code_is_built_with_what_is_made_of_it(home, what, before, after):
    changed(home, what, before, after)

    build = Build(home)

    assert "stg_salesforce__account" in build.built
    assert "dim_account" in build.built
    assert "dim_user" in build.left_out


def test_another_setting_builds_everything(home, first):
    assert Build(home, variables={"reporting_timezone": "UTC"}).built == first[1].built


# -- what is built afresh -----------------------------------------------------------------------------------------

NAME = ("salesforce_account_columns", "name as account_name", "'A ' || name as account_name")
VERSIONS, HISTORY = "int_account_versions", "dim_account_scd2"


@pytest.fixture(scope="module")
def first_histories(first, tmp_path_factory) -> Home:
    """The home with the history of accounts built."""
    path = tmp_path_factory.mktemp("histories") / "home"
    shutil.copytree(first[0].path, path)
    Build(home := Home(path), models=[HISTORY])
    return home


@pytest.fixture
def histories(first_histories, tmp_path) -> Home:
    """A copy of it."""
    shutil.copytree(first_histories.path, tmp_path / "home")
    return Home(tmp_path / "home")


def rebuilds(home: Home) -> dict[str, str]:
    """Why the last build built models afresh, by the model."""
    return dict(home.rows("select model, reason from gtm_meta.rebuild_reasons"))


def test_an_incremental_model_goes_on_with_its_table_as_long_as_its_code_is_the_same(histories):
    histories.land("account", partition(2), account(1, at(2), name="renamed"))

    assert {VERSIONS, HISTORY} <= Build(histories, models=[HISTORY]).built
    assert not rebuilds(histories)


def test_an_incremental_model_whose_code_has_changed_is_built_afresh_with_what_is_made_of_it(histories):
    changed(histories, *NAME)

    assert {VERSIONS, HISTORY} <= Build(histories, models=[HISTORY]).built
    assert rebuilds(histories)[VERSIONS] == "its code has changed since it was built"
    assert HISTORY in rebuilds(histories)
    assert all(
        name[0].startswith("A ")
        for name in histories.rows(
            f"select account_name from staging.gtm_intermediate.{VERSIONS} where account_name is not null"
        )
    )
    assert Build(histories, models=[HISTORY]).built == set()


def test_a_child_is_built_afresh_after_its_parent_was_in_another_build(histories):
    changed(histories, VERSIONS, "versions as (", "versions as ( -- a word\n")
    Build(histories, models=[VERSIONS])
    assert rebuilds(histories) == {VERSIONS: "its code has changed since it was built"}

    Build(histories, models=[HISTORY], force=True)

    assert rebuilds(histories) == {HISTORY: "what it is made of has been built afresh"}


def test_a_model_that_was_built_on_a_view_of_older_code_is_built_afresh_with_the_view(histories):
    changed(histories, "stg_salesforce__account", "renamed as (", "renamed as ( -- a word\n")
    Build(histories, models=[HISTORY], upstream=False, force=True)

    Build(histories, models=[HISTORY])

    assert rebuilds(histories) == {HISTORY: "nothing tells with which code it was built"}


def test_every_incremental_model_records_by_which_code_it_was_built():
    nodes = parsed().nodes
    hooks = {name: nodes[f"model.gtm_dbt.{name}"].config.post_hook for name in incremental_models()}

    # Without that it would be built afresh each time.
    assert {name for name, sql in hooks.items() if not any("record_" in hook.sql for hook in sql)} == set()


def test_dbt_by_hand_builds_nothing_afresh_and_leaves_the_code_unknown(histories):
    assert histories.dbt("run", "--select", HISTORY).success
    assert not rebuilds(histories)

    Build(histories, models=[HISTORY])

    assert rebuilds(histories) == {HISTORY: "nothing tells with which code it was built"}


# -- when nothing is known ---------------------------------------------------------------------------------------


def test_a_warehouse_that_somebody_else_has_written_is_built_whole(home, first):
    with duckdb.connect(str(home.path / "warehouse.duckdb")) as connection:
        connection.execute("update gtm_core.dim_user set user_name = 'Somebody'")

    assert Build(home).built == first[1].built
    assert not home.rows("select 1 from gtm_core.dim_user where user_name = 'Somebody'")


def test_a_build_that_did_not_come_to_its_end_lets_nothing_stand(home, first):
    States(DuckDB(home.path / "warehouse.duckdb")).begin()

    assert Build(home).built == first[1].built


def test_what_failed_is_built_again_though_its_code_is_that_of_the_last_success(home):
    changed(home, "dim_user", "select * from with_unknown", "select no_such_column from with_unknown")
    assert Build(home).statuses["model.gtm_dbt.dim_user"] == "error"
    home.manifest = None

    assert "dim_user" in Build(home).built


def test_a_test_that_did_not_pass_is_asked_again(home):
    home.land("opportunity", partition(2), opportunity(2, at(2), account_id=id_of("account", 7)))
    warned = {id_ for id_, status in Build(home).statuses.items() if status == "warn"}

    assert warned
    assert not {id_.split(".")[2] for id_ in warned} & Build(home).left_out
    assert {id_ for id_, status in Build(home).statuses.items() if status == "warn"} == warned


# -- digests -----------------------------------------------------------------------------------------------------


def test_the_content_of_a_table_is_its_columns_types_and_rows_whatever_their_order():
    with duckdb.connect() as connection:

        def content(query: str) -> str:
            connection.execute(f"create or replace table t as {query}")
            return str(DuckDB(Path("memory")).content_of(connection, "memory", "main", "t"))

        rows = "select * from (values (1, 'a'), (2, 'b'), (2, 'b')) as v (x, y)"
        assert content(rows) == content(f"{rows} order by x desc")
        others = [
            "select * from (values (1, 'a'), (2, 'b')) as v (x, y)",
            "select * from (values (1, 'a'), (1, 'a'), (2, 'b')) as v (x, y)",
            "select * from (values (1, 'b'), (2, 'a'), (2, 'b')) as v (x, y)",
            "select x::bigint as x, y from (values (1, 'a'), (2, 'b'), (2, 'b')) as v (x, y)",
            "select x, y as z from (values (1, 'a'), (2, 'b'), (2, 'b')) as v (x, y)",
            "select * from (values (1, null), (2, 'b'), (2, 'b')) as v (x, y)",
        ]
        assert len({content(query) for query in [rows, *others]}) == len(others) + 1


def test_the_macros_that_read_bookkeeping_are_those_whose_answers_are_inputs():
    """A macro that reads gtm_meta gives a node an input that no digest knows of, unless it is one of these."""
    batches_of_a_source = {"available_batches", "has_late_batch", "lake_versions", "ledger"}
    now = {"as_of"}
    says_what_was_built = {"build_recorded", "built_models", "builds_of", "reasons_of_code"}
    before_the_first_model = {
        "drop_staging_of_older_release",
        "duckdb__list_lake",
        "postgres__list_lake",
        "spark__list_lake",
        "prune_ledger",
        "meta_schema",
        "make_ledger",
        "list_external_tables",
        "list_rebuild_reasons",
        "reasons_of_ledger",
        "batches_for_base",
    }
    writes = {"duckdb__follow_compaction"}
    calls_a_function = {"postgres__external_misfits", "postgres__field_options"}
    readers = {"macro.gtm_dbt.meta_table", "macro.gtm_dbt.built_models"}
    callers = {
        macro.name
        for macro in parsed().macros.values()
        if macro.package_name == "gtm_dbt" and readers & {*macro.depends_on.macros}
    }

    assert callers == (
        batches_of_a_source | now | says_what_was_built | before_the_first_model | writes | calls_a_function
    )


def test_few_models_ask_for_now():
    """A model that asks for now is built each day: those that read the lake do not."""
    code = code_of(parsed())
    asking = {name for name in parsed().nodes if code.asks_for_now(name)}

    assert "model.gtm_dbt.dim_date" in asking
    assert not [name for name in asking if ".base_" in name or ".stg_" in name]


# -- together ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "steps", "models", "tables"),
    [
        pytest.param(1, 5, MODELS, TABLES, id="5_steps"),
        pytest.param(2, 25, MORE_MODELS, MORE_TABLES, id="25_steps", marks=pytest.mark.nightly),
    ],
)
def test_after_any_changes_tables_and_verdicts_are_those_of_a_full_refresh(tmp_path, seed, steps, models, tables):
    dice = random.Random(seed)
    home = Home(tmp_path / "home")
    empty_tables(home, *tables, *PIPEDRIVE)
    log = ChangeLog(home, f"state {seed}")
    variables: dict[str, Any] = {}
    left_out = 0
    for day in range(2, 2 + steps):
        what = dice.choice(["land", "land", "land", "code", "setting", "nothing"])
        if what == "land":
            table = dice.choice(tables)
            log.land(table, day, log.draw(table, day, dice.randint(1, 6)))
        elif what == "code":
            home.manifest = None
            changed(home, *dice.choice(CHANGES))
        elif what == "setting":
            variables = {"reporting_timezone": dice.choice(["UTC", "America/Los_Angeles"])}
        build = Build(home, variables=variables, models=models)
        left_out += len(build.left_out)

        fresh = home.twin("fresh")
        fresh.manifest = home.manifest
        expected = Build(fresh, force=True, variables=variables, full_refresh=True, models=models)
        assert build.statuses == expected.statuses, f"day {day}, {what}"
        built = [name for name in expected.built if not name.startswith("stg_")]
        assert home.tables(*built) == fresh.tables(*built), f"day {day}, {what}"
    assert left_out, "a sequence that leaves nothing out proves nothing"


CHANGES = (
    ("dim_user", "with_unknown as (", "with_unknown as ( -- a word\n"),
    ("salesforce_account_columns", "name as account_name", "'A ' || name as account_name"),
    ("stg_salesforce__user", "renamed as (", "renamed as ( -- a word\n"),
)
"""Changes of code: of some the tables come out equal, of some not."""
