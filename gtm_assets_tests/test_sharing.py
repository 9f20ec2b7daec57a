"""A file that is shared holds what the person may see, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from gtm_assets.serving.access_file import DEFAULT, AccessError, parse
from gtm_assets.serving.sharing import Sharing, share
from gtm_assets_tests.test_access import DESCRIBED, FILE, PEOPLE

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "gtm.duckdb"
    with duckdb.connect(str(path)) as file:
        for schema in ("gtm_core", "gtm_mart", "gtm_certified", "gtm_meta"):
            file.execute(f"create schema {schema}")
        for table, sql in FILE.items():
            file.execute(f"create table {table} as {sql}")
        file.execute(f"create view gtm_certified.deals as {DESCRIBED['gtm_certified.deals'].query}")
        file.execute("create table gtm_meta.publication as select 'run 1' as run_id, 'of all' as findings")
        file.execute("create table gtm_meta.findings as select 'rita@acme.example' as sentence")
    return path


def shared(published: Path, folder: Path, login: str, role: str | None = None, people: str = PEOPLE) -> Path:
    access = parse(DEFAULT + people, "access.yml")
    path = folder / f"{login}-{role}.duckdb"
    share(published, path, access, Sharing.of(access, login, role), DESCRIBED, NOW)
    return path


def asked(path: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(path), read_only=True) as file:
        return file.execute(sql).fetchall()


def tables(path: Path) -> set[str]:
    listed = asked(path, "select schema_name || '.' || table_name from duckdb_tables()")
    return {table for (table,) in listed}


@pytest.mark.parametrize(
    ("login", "seen"),
    [
        ("ana", ["max", "rita", "sam", "top", "unknown"]),
        ("rita", ["rita"]),
        ("max", ["max", "rita", "sam"]),
        ("north", ["rita", "top"]),
    ],
)
def test_a_person_has_their_own_rows_those_of_their_team_at_any_depth_or_of_their_region(
    published, tmp_path, login, seen
):
    path = shared(published, tmp_path, login)
    for table, column in {
        "gtm_core.fct_opportunity": "owner_user_key",
        "gtm_core.fct_opportunity_field_history": "opportunity_id",
        "gtm_core.dim_contact": "owner_user_key",
        "gtm_mart.rep_manager_performance": "manager_user_key",
        "gtm_certified.deals": "owner_user_key",
    }.items():
        rows = asked(path, f"select {column} from {table} order by 1")
        assert [value.rpartition("-")[2] for (value,) in rows] == seen, table
    assert asked(path, "select count(*) from gtm_core.dim_user") == [(5,)]
    totals = asked(path, "select count(*) from gtm_mart.rep_executive_summary")
    assert totals == [(1 if login == "ana" else 0,)]
    who = asked(path, "select login, roles from gtm_meta.shared_with")
    assert who == [(login, "analyst")]
    assert path.stat().st_mode & 0o077 == 0


def test_what_a_person_may_not_see_is_nowhere_in_the_file(published, tmp_path):
    path = shared(published, tmp_path, "rita")
    content = path.read_bytes()
    for hidden in (
        b"sam@acme",
        b"rita@acme",
        b"Sam Sub",
        b"Rita Rep",
        b"Berg",
        b"555-12",
        b"Berlin",
        b"secret of k-sam",
    ):
        assert hidden not in content, hidden
    assert b"secret of k-rita" in content
    user = (
        "select user_name, email, title from gtm_core.dim_user where user_key in ('k-rita', 'unknown') order by 1"
    )
    assert asked(path, user) == [("R. R.", "***@example.com", "AE"), (None, None, None)]
    contact = asked(path, "select contact_name, phone, mailing_city from gtm_core.dim_contact")
    assert contact == [("Z. v. B.", "***-***-1234", None)]
    assert asked(path, "select owner_name from gtm_certified.deals") == [("R. R.",)]


def test_a_file_has_the_layers_of_the_role_and_always_how_old_it_is(published, tmp_path):
    people = PEOPLE.replace("tool: {roles: [bi]", "tool: {roles: [bi, administrator]")
    as_bi = shared(published, tmp_path, "tool", "bi", people)
    assert tables(as_bi) == {
        "gtm_mart.rep_manager_performance",
        "gtm_mart.rep_executive_summary",
        "gtm_certified.deals",
        "gtm_meta.publication",
        "gtm_meta.shared_with",
    }
    assert asked(as_bi, "select distinct owner_name from gtm_certified.deals where owner_user_key = 'k-max'") == [
        ("M. M.",)
    ]
    whole = shared(published, tmp_path, "tool", None, people)
    assert {"gtm_core.dim_user", "gtm_meta.findings"} <= tables(whole)
    assert ("Rita Rep", "rita@acme.example") in asked(whole, "select user_name, email from gtm_core.dim_user")


def test_what_can_not_be_shared_is_told_and_leaves_no_file(published, tmp_path):
    with pytest.raises(AccessError, match="has no login eve: it has ana, boss"):
        shared(published, tmp_path, "eve")
    with pytest.raises(AccessError, match="rita has not the role bi, but analyst"):
        shared(published, tmp_path, "rita", "bi")
    nobody = PEOPLE.replace("user: Rita@acme.example", "user: nobody@acme.example")
    with pytest.raises(
        AccessError, match=r"no such person or division: nobody@acme.example. rita would see no row"
    ):
        shared(published, tmp_path, "rita", None, nobody)
    access = parse(DEFAULT + PEOPLE, "access.yml")
    sharing = Sharing.of(access, "ana", None)
    users = DESCRIBED["gtm_core.dim_user"]
    bare = {**DESCRIBED, "gtm_core.dim_user": replace(users, tiers={**users.tiers, "division": "internal"})}
    with pytest.raises(AccessError, match=r"masks 1 columns with personal data: gtm_core.dim_user.division"):
        share(published, tmp_path / "x.duckdb", access, sharing, bare, NOW)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there.duckdb").write_text("mine")
    with pytest.raises(AccessError, match=r"there.duckdb is there already"):
        share(published, tmp_path / "there.duckdb", access, sharing, DESCRIBED, NOW)
    assert (tmp_path / "there.duckdb").read_text() == "mine"
