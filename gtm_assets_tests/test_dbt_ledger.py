"""The ledger: what a model has consumed is written with its rows, or not at all."""

from collections import Counter

import pytest
from dbt.artifacts.resources import Hook

from gtm_assets.engines.files import connect
from gtm_assets_tests.dbt_harness import (
    PIPEDRIVE,
    TABLES,
    BuildError,
    Home,
    account,
    at,
    empty_tables,
    parsed,
    partition,
    task,
    with_ancestors,
)

BASE = "base_salesforce__account"
MODELS = [BASE, "int_account_versions", "dim_account_scd2"]


@pytest.fixture
def home(tmp_path) -> Home:
    """Three models built from one batch, and a second batch that waits."""
    home = Home(tmp_path / "gtm")
    home.land("account", partition(2), account(1, at(2)))
    home.build(*with_ancestors(MODELS[-1]))
    home.land("account", partition(3), account(1, at(3), industry="new"), account(2, at(3)))
    return home


def state(home: Home) -> list:
    return [(home.table(model, ignoring=()), home.consumed(model)) for model in MODELS]


def test_a_build_that_fails_after_the_ledger_was_written_leaves_neither_rows_nor_entries(home):
    before = state(home)
    failing = parsed().deepcopy()
    for model in MODELS:
        failing.nodes[f"model.gtm_dbt.{model}"].config.post_hook.append(Hook(sql="select error('planted')"))
    home.manifest = failing

    for model in MODELS:
        with pytest.raises(BuildError, match="planted"):
            home.build(model)
        with pytest.raises(BuildError, match="planted"):
            home.build(model, full_refresh=True)
    assert state(home) == before

    home.manifest = None
    home.build(*MODELS)
    assert home.rows("select count(*) from gtm_core.dim_account_scd2 where account_id <> 'unknown'") == [(3,)]
    assert all(len(home.consumed(model)) == 2 for model in MODELS)


def test_a_ledger_that_refuses_the_entry_undoes_the_rows(home):
    before = state(home)
    refusing = "(model varchar, parent varchar, batch_id varchar check (batch_id not like '%-03-%'))"
    with connect(home.path / "warehouse.duckdb", read_only=False) as connection:
        for ledger in ("gtm_meta.consumed_batches", "staging.gtm_meta.consumed_batches"):
            connection.execute(f"create or replace temp table entries as from {ledger}")
            connection.execute(f"create or replace table {ledger} {refusing}")
            connection.execute(f"insert into {ledger} from entries")

    with pytest.raises(BuildError, match="CHECK"):
        home.build(BASE)

    assert state(home) == before


def test_models_built_alone_in_any_order_end_where_all_together_end(home):
    """The history is built before the versions, the versions twice, base last: then once more."""
    for model in ("dim_account_scd2", "int_account_versions", "int_account_versions", "dim_account_scd2", BASE):
        home.build(model)

    full = home.twin("full")
    full.build(*with_ancestors(MODELS[-1]))
    for model in MODELS:
        assert home.table(model) == full.table(model)
        assert {batch for _, batch in home.consumed(model)} == {b.batch_id for b in home.lake.batches()}


@pytest.mark.parametrize("lost", ["warehouse.duckdb", "warehouse.staging.duckdb"])
def test_where_one_of_the_warehouse_s_files_is_lost_the_next_build_makes_what_it_held(home, lost):
    home.build(*with_ancestors(MODELS[-1]))
    before = state(home)
    (home.path / lost).unlink()

    home.build(*with_ancestors(MODELS[-1]))

    assert state(home) == before


def test_a_child_does_not_take_for_consumed_what_its_parent_has_not_read(home):
    empty_tables(home, "task", "user", "contact")
    home.build("dim_account_scd2")

    assert home.consumed("dim_account_scd2") == {("int_account_versions", "account-2026-01-02-0000")}


def test_a_dropped_table_is_built_from_everything(home):
    home.build(*MODELS)
    with connect(home.path / "warehouse.duckdb", read_only=False) as connection:
        connection.execute(f"drop table gtm_staging.{BASE} cascade")
    home.build(BASE)

    assert home.rows(f"select count(*) from gtm_staging.{BASE}") == [(2,)]


def test_a_build_that_fails_brings_back_the_rows_that_it_had_deleted(tmp_path):
    """A deleted task leaves its fact and the activities: with the ledger's entry, or not at all."""
    home = Home(tmp_path / "gtm").seed()
    empty_tables(home, *TABLES, *PIPEDRIVE)
    home.land("task", partition(2), task(1, at(2)), task(2, at(2)))
    facts = ["fct_task", "fct_activity"]
    home.build(*with_ancestors(*facts))
    home.land("task", partition(3), task(1, at(3), is_deleted=True), task(2, at(3), status="Completed"))
    home.build("base_salesforce__task")

    for fact in facts:
        before = home.tables(*facts), home.consumed(fact)
        failing = parsed().deepcopy()
        failing.nodes[f"model.gtm_dbt.{fact}"].config.post_hook.append(Hook(sql="select error('planted')"))
        home.manifest = failing
        with pytest.raises(BuildError, match="planted"):
            home.build(fact)
        assert (home.tables(*facts), home.consumed(fact)) == before
        home.manifest = None
        home.build(fact)
        assert home.rows(f"select count(*) from gtm_core.{fact}") == [(1,)]

    full = home.twin("full").seed()
    full.build(*with_ancestors(*facts))
    assert home.tables(*facts) == full.tables(*facts)


def test_activities_that_did_not_change_are_not_written_again(tmp_path):
    home = Home(tmp_path / "gtm").seed()
    empty_tables(home, *TABLES, *PIPEDRIVE)
    home.land("task", partition(2), *(task(number, at(2)) for number in range(1, 6)))
    home.build(*with_ancestors("fct_activity"))
    built = dict(home.rows("select activity_id, activity_key from gtm_core.fct_activity"))

    home.land("task", partition(3), task(1, at(3), is_closed=True), task(2, at(3), is_deleted=True))
    home.build("base_salesforce__task", "fct_task")
    compiled = home.dbt("compile", "--select", "fct_activity").result.results[0].node.compiled_code
    offered = home.rows(f"select activity_key, source_system from ({compiled})")

    changed, gone = (built[task(number, at(3))["id"]] for number in (1, 2))
    # What changed comes with its rows, and as the key of the row that it takes the place of.
    assert Counter(offered) == Counter([(changed, "salesforce"), (changed, None), (gone, None)])
