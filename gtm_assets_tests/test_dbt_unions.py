"""How sources feed core: by the union of their own models, in which a new source is a file and an entry."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dbt.contracts.graph.manifest import Manifest

from gtm_assets_tests.dbt_harness import (
    DBT_DIR,
    PIPEDRIVE,
    TABLES,
    Home,
    at,
    describe,
    empty_tables,
    parsed,
    partition,
    user,
    with_ancestors,
)

USERS = with_ancestors("dim_user")
OF_PIPEDRIVE = "int_user__pipedrive"
NODE = f"model.gtm_dbt.{OF_PIPEDRIVE}"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Home:
    """One user of Salesforce, one of Pipedrive, and dim_user built of them."""
    home = with_users(Home(tmp_path_factory.mktemp("unions") / "gtm"))
    home.build(*USERS)
    return home


@pytest.fixture
def home(built, tmp_path) -> Home:
    """A copy of it that a test may build otherwise."""
    shutil.copytree(built.path, tmp_path / "gtm")
    return Home(tmp_path / "gtm")


def with_users(home: Home) -> Home:
    empty_tables(home, *TABLES, *PIPEDRIVE)
    home.land("user", partition(2), user(1, at(2), title="Boss"))
    theirs = {"id": 7, "name": "Dee", "email": "dee@team.example", "modified": at(1), "exported_at": at(2)}
    home.land("pipedrive.users", partition(2), theirs | {"_fivetran_deleted": False})
    return home


def compiled(home: Home, model: str) -> str:
    """The SQL that dbt ran for a model at last."""
    return (home.path / f"dbt/run/gtm_dbt/models/core/dimensions/{model}.sql").read_text(encoding="utf-8")


def changed(home: Home, change: Callable[[Manifest], None]) -> Home:
    """The home, built by a manifest with a change."""
    manifest = parsed().deepcopy()
    change(manifest)
    manifest.build_flat_graph()
    home.manifest = manifest
    return home


def users(home: Home) -> list[tuple]:
    return home.rows(
        "select user_name, title, source_system from gtm_core.dim_user where user_id <> 'unknown' order by 1"
    )


def test_a_column_that_a_source_lacks_is_null_of_the_type_that_others_give_it(built):
    assert users(built) == [("Dee", None, "pipedrive"), ("User 1", "Boss", "salesforce")]
    nulls = "cast(null as varchar) as title"
    assert compiled(built, "dim_user").count(nulls) == 2  # Pipedrive's, and the unknown member's.


def test_a_source_that_is_off_is_not_in_the_union(home):
    assert OF_PIPEDRIVE in compiled(home, "dim_user")

    home.without = "pipedrive"
    home.build(*USERS)

    assert OF_PIPEDRIVE not in compiled(home, "dim_user")
    assert users(home) == [("User 1", "Boss", "salesforce")]


def test_without_any_source_the_union_has_no_rows_and_all_columns(home):
    home.without = "pipedrive,salesforce"
    home.build(*USERS)

    assert users(home) == []


def test_two_types_of_a_column_are_refused(home):
    def of_another_type(manifest: Manifest) -> None:
        manifest.nodes[NODE].columns["email"].data_type = "bigint"

    result = changed(home, of_another_type).dbt("run", "--select", "dim_user")

    said = " ".join(describe(result).split())
    told = "int_user__pipedrive.email is bigint, and in int_user__salesforce it is varchar"
    assert f"{told}: cast it to one type in both, or name what differs by another name" in said


def test_a_column_that_the_yml_of_a_source_lacks_is_refused_and_not_left_out(home):
    def without_email(manifest: Manifest) -> None:
        del manifest.nodes[NODE].columns["email"]

    result = changed(home, without_email).dbt("run", "--select", OF_PIPEDRIVE)

    assert "contract" in describe(result)


THIRD = """
select
    'key of ' || id as user_key,
    id as user_id,
    id as source_user_id,
    name as user_name,
    'third' as source_system
from (values ('third-1', 'Fay')) as people (id, name)
"""
THIRD_YML = """
version: 2
models:
  - name: int_user__third
    description: One row per user.
    columns:
      - {name: user_key, data_type: varchar}
      - {name: user_id, data_type: varchar}
      - {name: source_user_id, data_type: varchar}
      - {name: user_name, data_type: varchar}
      - {name: source_system, data_type: varchar}
"""


@pytest.mark.slow
def test_a_third_source_is_files_of_its_own_and_an_entry(tmp_path):
    """Its users are in core, without a change of a model that is there."""
    project: Path = tmp_path / "project" / "gtm_dbt"
    shutil.copytree(DBT_DIR, project, ignore=shutil.ignore_patterns("target", "logs"))
    folder = project / "models/intermediate/third"
    folder.mkdir()
    (folder / "int_user__third.sql").write_text(THIRD)
    (folder / "int_user__third.yml").write_text(THIRD_YML)
    settings = project / "dbt_project.yml"
    given = settings.read_text()
    settings.write_text(given.replace("user: [salesforce, pipedrive]", "user: [salesforce, pipedrive, third]"))
    assert settings.read_text() != given
    home = with_users(Home(tmp_path / "gtm", project=project))
    home.build(*USERS, "int_user__third")

    assert users(home) == [
        ("Dee", None, "pipedrive"),
        ("Fay", None, "third"),
        ("User 1", "Boss", "salesforce"),
    ]
