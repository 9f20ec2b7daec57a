"""Who may read what on the server that people share, tried as the logins themselves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gtm_assets.engines.engine import Table
from gtm_assets.serving import private_server
from gtm_assets.serving.access_file import DEFAULT, LAYERS, AccessError, granted, matrix, missing_masks, parse
from gtm_assets_tests.needs import require
from gtm_assets_tests.postgres_server import database, needs_postgres, running
from gtm_assets_tests.postgres_tables import connected, query

PEOPLE = """
  ana: {roles: [analyst], scope: all}
  boss: {roles: [administrator], scope: all}
  rita: {roles: [analyst], scope: own, user: Rita@acme.example}
  max: {roles: [analyst], scope: team, user: u-max}
  north: {roles: [analyst], scope: region, regions: [North]}
  tool: {roles: [bi], scope: all}
  dev: {roles: [developer], scope: own, user: rita@acme.example}
  loader2: {roles: [transform], scope: own, user: u-max}
"""
USERS = """
    select * from (values
        ('unknown', 'unknown', null, null, null, null, null),
        ('k-top', 'u-top', 'top@acme.example', 'Tina Top', 'CRO', null, 'North'),
        ('k-max', 'u-max', 'max@acme.example', 'Max Middle', 'Lead', 'u-top', 'South'),
        ('k-rita', 'u-rita', 'rita@acme.example', 'Rita Rep', 'AE', 'u-max', 'North'),
        ('k-sam', 'u-sam', 'sam@acme.example', 'Sam Sub', 'AE', 'u-rita', 'South')
    ) as v (user_key, user_id, email, user_name, title, manager_user_id, division)
"""
FILE = {
    "gtm_core.dim_user": f"select * from ({USERS})",
    "gtm_core.fct_opportunity": "select 'o-' || user_key as opportunity_id, user_key as owner_user_key,"
    f" cast(100 as decimal(18, 2)) as amount from ({USERS})",
    "gtm_core.fct_opportunity_field_history": "select 'h-' || user_key as change_id, 'o-' || user_key as"
    f" opportunity_id, 'secret of ' || user_key as new_value from ({USERS})",
    "gtm_core.dim_contact": "select 'c-' || user_key as contact_key, user_key as owner_user_key,"
    f" 'Zoë van Berg' as contact_name, '+49 (0)30 555-12 34' as phone, 'Berlin' as mailing_city from ({USERS})",
    "gtm_core.dim_date": "select 1 as date_key",
    "gtm_mart.rep_manager_performance": f"select user_key as manager_user_key from ({USERS})",
    "gtm_mart.rep_executive_summary": "select 1 as month",
}
DESCRIBED = {
    "gtm_core.dim_user": Table(
        "Users.",
        {"user_key": "Key.", "email": "Email."},
        "user_key",
        tiers={"email": "confidential", "user_name": "confidential", "title": "internal"},
        row_rule="everyone",
    ),
    "gtm_core.fct_opportunity": Table(
        "Opportunities.",
        {"owner_user_key": ""},
        "opportunity_id",
        {"owner_user_key": ("gtm_core.dim_user", "user_key")},
        row_rule="owner_user_key",
    ),
    "gtm_core.fct_opportunity_field_history": Table(
        "Changes.", {"opportunity_id": ""}, "change_id", tiers={"new_value": "internal"}, row_rule="opportunity_id"
    ),
    "gtm_core.dim_contact": Table(
        "Contacts.",
        {"owner_user_key": ""},
        "contact_key",
        tiers={"contact_name": "confidential", "phone": "confidential", "mailing_city": "confidential"},
        row_rule="owner_user_key",
    ),
    "gtm_core.dim_date": Table("Days.", {}, "date_key", row_rule="everyone"),
    "gtm_mart.rep_manager_performance": Table(
        "Managers.", {"manager_user_key": ""}, "manager_user_key", row_rule="manager_user_key"
    ),
    "gtm_mart.rep_executive_summary": Table("Totals.", {}, "month", row_rule="all"),
    "gtm_certified.deals": Table(
        "Deals with their owners.",
        {"owner_name": "Owner."},
        query="select deals.opportunity_id, deals.owner_user_key, owners.user_name as owner_name"
        " from gtm_core.fct_opportunity as deals"
        " left join gtm_core.dim_user as owners on deals.owner_user_key = owners.user_key",
    ),
}


# -- the file --------------------------------------------------------------------------------------------------


def test_the_default_file_is_read_and_shown_as_a_matrix():
    rows = {
        role: dict(zip(LAYERS, rights, strict=False)) for role, *rights in matrix(parse(DEFAULT, "access.yml"))
    }
    assert rows["ingest"] == dict.fromkeys(LAYERS, "none") | {"raw": "write"}
    assert {layer for layer, right in rows["bi"].items() if right == "read"} == {"mart", "certified"}
    assert "write" not in rows["analyst"].values()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{raw: write}", "{lake: write}", r"roles\.ingest\.layers\.lake: lake is no layer. The layers are raw, "),
        ("{raw: write}", "{raw: own}", r"roles\.ingest\.layers\.raw: Input should be 'none', 'read' or 'write'"),
        ("mask: email", "mask: mail", r"masks\.0\.mask: Input should be 'email'"),
        ("roles: [bi]", "roles: [dashboards]", r"people\.tool: there is no role dashboards; there are ingest, "),
        ("regions: [North]", "regions: []", "regions go with the scope region, and that scope needs them"),
        ("scope: all", "scope: own", "nobody has the scope all"),
        ("  bi:", "  B-I:", "B-I: a role's name has small letters"),
        ("roles:\n", "roles: [\n", "access.yml is no YAML"),
        ("connections: 20", "conections: 20", r"roles\.bi\.conections: nothing is called so here"),
        ("budget_hours: 100", "ad_hoc: true", r"roles\.bi: ad_hoc needs budget_hours"),
        ("statement_seconds: 3600", "budget_hours: 1\n    ad_hoc: true", r"roles\.transform: .* is never refused"),
        ("audit: read", "audit: write", r"roles\.administrator: what is audited is only read"),
        ("  bi:", "  auditor:", "auditor: the platform itself has a role of this name"),
    ],
)
def test_a_file_that_says_what_it_can_not_is_refused(old, new, said):
    text = DEFAULT + PEOPLE
    assert old in text
    with pytest.raises(AccessError, match=said):
        parse(text.replace(old, new), "access.yml")


def test_a_login_is_entered_and_replaced_and_comments_stay():
    text = granted(DEFAULT, "access.yml", "ana", ["analyst"], "all", None, [])
    text = granted(text, "access.yml", "eve", ["bi", "analyst"], "region", None, ["North", "São Paulo"])
    text = granted(text, "access.yml", "ana", ["administrator"], "all", "ana@acme.example", [])
    text = text.replace("  eve:\n", "  eve:\n    kind: service\n")
    text = granted(text, "access.yml", "eve", ["bi"], "region", None, ["North", "São Paulo"])
    people = parse(text, "access.yml").people
    assert people["eve"].kind == "service"
    assert people["ana"].roles == ("administrator",) and people["eve"].regions == ("North", "São Paulo")
    assert set(DEFAULT.splitlines()) <= set(text.splitlines())
    with pytest.raises(AccessError, match=r"people\.x: there is no role boss"):
        granted(text, "access.yml", "x", ["boss"], "own", None, [])


def test_each_model_says_whose_its_rows_are_and_the_default_file_masks_all_personal_data():
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.publishing.publish import descriptions
    from gtm_assets.serving.row_rules import missing_rules, tiers_of

    described = descriptions(json.loads(manifest_path().read_text()))
    assert missing_rules(described) == []
    assert missing_masks(parse(DEFAULT, "access.yml"), tiers_of(described)) == []
    assert sum(map(len, tiers_of(described).values())) > 40
    # A model without a rule and a column without a mask are found.
    users = replace(described["gtm_core.dim_user"], row_rule="", tiers={"passport": "confidential"})
    assert missing_rules({"gtm_core.dim_user": users}) == ["gtm_core.dim_user"]
    assert missing_masks(parse(DEFAULT, "access.yml"), tiers_of({"gtm_core.dim_user": users})) == [
        "gtm_core.dim_user.passport"
    ]


# -- the server ------------------------------------------------------------------------------------------------


class Organisation:
    """A server with a small organisation, whose access file is in force."""

    def __init__(self, address: str, folder: Path, people: str = PEOPLE) -> None:
        from gtm_assets.engines.postgres_server import Server

        self.address, self.folder = address, folder
        self.file = folder / "access.yml"
        self.file.write_text(DEFAULT + people)
        self.server = Server(address, "GTM_SERVE_URL")
        self.passwords: dict[str, str] = {}

    def publish(
        self, tables: dict[str, str] = FILE, described: dict[str, Table] = DESCRIBED, run: int = 1
    ) -> None:
        from gtm_assets.serving.copying import Copying

        file = self.folder / f"published-{run}.duckdb"
        with duckdb.connect(str(file)) as published:
            for schema in ("gtm_core", "gtm_mart", "gtm_meta"):
                published.execute(f"create schema {schema}")
            for table, sql in tables.items():
                published.execute(f"create table {table} as {sql}")
            published.execute(
                f"create table gtm_meta.publication as select 'run {run}' as run_id, now() as published_at"
            )
        Copying(self.server, "gtm_", self.folder / "kept.duckdb", self.file).serve(file, described)

    def enforcer(self, described: dict[str, Table] = DESCRIBED) -> Any:
        from gtm_assets.serving.access import Enforcer

        return Enforcer(self.server, self.server, "gtm_", self.file, described)

    def apply(self) -> None:
        self.enforcer().apply()
        for login in ("ana", "boss", "rita", "max", "north", "tool", "dev", "loader2"):
            if login in self.enforcer().access.people and login not in self.passwords:
                self.passwords[login] = self.enforcer().rotate(login)

    def address_of(self, login: str) -> str:
        return f"postgresql://{login}:{self.passwords[login]}@{self.address.partition('@')[2]}"

    def asked(self, login: str, *statements: str) -> list[tuple]:
        """What the last statement gives to a login."""
        with connected(self.address_of(login)) as cursor:
            for statement in statements[:-1]:
                cursor.execute(statement)
            rows = query(cursor, statements[-1])
            cursor.connection.commit()
            return rows

    def refused(self, login: str, *statements: str) -> str:
        with pytest.raises(Exception, match=r"permission denied|must be|must have") as error:
            self.asked(login, *statements)
        return str(error.value)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running(auth="scram-sha-256") as address:
        yield address


@pytest.fixture
def organisation(server, tmp_path) -> Iterator[Organisation]:
    """One that nobody else uses. Logins are the server's, so they go with it."""
    with database(server) as address:
        yield from made(address, tmp_path, server)


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory) -> Iterator[Organisation]:
    """One that each test leaves as it was."""
    with running(auth="scram-sha-256") as own, database(own) as address:
        yield from made(address, tmp_path_factory.mktemp("shared"), own)


def made(address: str, folder: Path, server: str) -> Iterator[Organisation]:
    organisation = Organisation(address, folder)
    organisation.publish()
    organisation.apply()
    try:
        yield organisation
    finally:
        without_roles(organisation)


def without_roles(organisation: Organisation) -> None:
    """Drop what `gtm access apply` has made, which is the server's and not the database's."""
    with closing(organisation.server.open()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select rolname from pg_roles where shobj_description(oid, 'pg_authid') like '%access apply%'"
        )
        roles = [role for (role,) in cursor.fetchall()]
        for role in roles:
            cursor.execute(f'drop owned by "{role}" cascade')
        for role in roles:
            cursor.execute(f'drop role "{role}"')


def owners(organisation: Organisation, login: str, table: str, column: str = "owner_user_key") -> Sequence[str]:
    rows = organisation.asked(login, f"select {column} from gtm_reader_{table} order by 1")
    return [row[0].rpartition("-")[2] for row in rows]


@pytest.mark.slow
@needs_postgres
@pytest.mark.parametrize(
    ("login", "seen"),
    [
        ("ana", ["max", "rita", "sam", "top", "unknown"]),
        ("rita", ["rita"]),
        ("max", ["max", "rita", "sam"]),
        ("north", ["rita", "top"]),
    ],
)
def test_people_see_their_own_rows_those_of_their_team_at_any_depth_or_of_their_region(shared, login, seen):
    assert owners(shared, login, "core.fct_opportunity") == seen
    assert owners(shared, login, "core.fct_opportunity_field_history", "opportunity_id") == seen
    assert owners(shared, login, "core.dim_contact") == seen
    assert owners(shared, login, "mart.rep_manager_performance", "manager_user_key") == seen
    assert len(owners(shared, login, "core.dim_user", "user_key")) == 5
    assert owners(shared, login, "certified.deals") == seen
    totals = shared.asked(login, "select count(*) from gtm_reader_mart.rep_executive_summary")
    assert totals == [(1 if login == "ana" else 0,)]


@pytest.mark.slow
@needs_postgres
def test_personal_data_is_masked_by_tier(shared):
    user = (
        "select user_name, email, title from gtm_reader_core.dim_user"
        " where user_key in ('k-rita', 'unknown') order by 1"
    )
    assert shared.asked("ana", user) == [("R. R.", "***@example.com", "AE"), (None, None, None)]
    assert shared.asked("boss", user)[0] == ("Rita Rep", "rita@acme.example", "AE")
    deals = "select owner_name from gtm_reader_certified.deals where owner_user_key = 'k-rita'"
    assert shared.asked("ana", deals) == [("R. R.",)]
    assert shared.asked("boss", deals) == [("Rita Rep",)]
    contact = "select contact_name, phone, mailing_city from gtm_reader_core.dim_contact limit 1"
    assert shared.asked("ana", contact) == [("Z. v. B.", "***-***-1234", None)]
    assert shared.asked("boss", contact) == [("Zoë van Berg", "+49 (0)30 555-12 34", "Berlin")]
    assert shared.asked("ana", "select count(*) from gtm_reader_core.dim_user where email like '%acme%'") == [(0,)]


MATRIX = {
    "ana": {"core": "read", "mart": "read", "certified": "read", "meta": "read"},
    "tool": {"mart": "read", "certified": "read"},
    "dev": {"core": "read", "mart": "read", "certified": "read", "meta": "read"},
    "boss": {"core": "read", "mart": "read", "certified": "read", "meta": "read"},
    "loader2": {"core": "read", "mart": "read", "meta": "read"},
}


@pytest.mark.slow
@needs_postgres
@pytest.mark.parametrize("login", MATRIX)
def test_each_login_may_do_what_the_matrix_says_and_nothing_more(shared, login):
    places = {
        "core": "gtm_reader_core.dim_date",
        "mart": "gtm_reader_mart.rep_executive_summary",
        "certified": "gtm_reader_certified.deals",
        "meta": "gtm_published_meta.publication",
    }
    for layer, table in places.items():
        if MATRIX[login].get(layer) == "read":
            shared.asked(login, f"select count(*) from {table}")
        else:
            shared.refused(login, f"select count(*) from {table}")
        for statement in (
            f"delete from {table}",
            f"create table {table}_mine (x int)",
            f"drop view {table}",
            f"alter table {table} disable row level security",
        ):
            with pytest.raises(Exception, match=r"permission denied|must be owner|is not a|cannot"):
                shared.asked(login, statement)
    for base in (
        "gtm_published_core.dim_user",
        "gtm_published_mart.rep_executive_summary",
        "gtm_access.user_scope",
    ):
        shared.refused(login, f"select count(*) from {base}")


@pytest.mark.slow
@needs_postgres
def test_a_developer_writes_in_a_schema_of_their_own_alone(shared):
    shared.asked("dev", "create table dev.mine as select 1 as one", "select one from dev.mine")
    shared.refused("dev", "create table public.mine (x int)")
    shared.refused("ana", "create schema ana")
    shared.refused("ana", "select * from dev.mine")


@pytest.mark.slow
@needs_postgres
def test_nothing_is_read_around_views_masks_and_policies(shared, tmp_path):
    refused = [
        "set role gtm_view_owner",
        "set session authorization gtm",
        "copy gtm_published_core.dim_user to stdout",
        "copy (select * from gtm_published_core.dim_user) to stdout",
        "select * from gtm_access.visible_user",
        "select * from pg_statistic",
        "select pg_read_file('/etc/passwd')",
        "create function public.leak(text) returns boolean language sql as 'select true'",
        "alter view gtm_reader_core.dim_user set (security_barrier = false)",
        "create policy mine on gtm_published_core.fct_opportunity using (true)",
    ]
    for statement in refused:
        shared.refused("rita", statement)
    assert shared.asked("rita", "select count(*) from pg_stats where schemaname = 'gtm_published_core'") == [(0,)]
    # Neither an error nor a function of one's own is shown a row that the policy leaves out.
    peek = (
        "create function dev.peek(text) returns boolean language plpgsql cost 0.0000001 as"
        " $$ begin raise notice '%', $1; insert into dev.seen values ($1); return true; end $$"
    )
    shared.asked("dev", "create table dev.seen (value text)", peek, "select 1")
    shared.asked("dev", "select count(*) from gtm_reader_core.fct_opportunity where dev.peek(opportunity_id)")
    assert shared.asked("dev", "select distinct value from dev.seen") == [("o-k-rita",)]
    shared.asked("dev", "select count(*) from gtm_reader_core.dim_user where dev.peek(email)")
    seen = {value for (value,) in shared.asked("dev", "select distinct value from dev.seen")}
    assert seen == {"o-k-rita", "***@example.com", None}
    divided = (
        "select count(*) from gtm_reader_core.fct_opportunity"
        " where 1 / (case owner_user_key when 'k-top' then 0 else 1 end) = 1"
    )
    assert shared.asked("rita", divided) == [(1,)]


@pytest.mark.slow
@needs_postgres
def test_pg_dump_as_a_reader_gets_no_table(shared, tmp_path):
    program = private_server.programs() / "pg_dump"
    require(None if program.exists() else "pg_dump is not installed")
    dumped = subprocess.run(
        [program, "--data-only", "--schema", "gtm_published_core", shared.address_of("tool")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert dumped.returncode != 0 and "permission denied" in dumped.stderr and "acme" not in dumped.stdout


# -- what changes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_postgres
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "grant select on gtm_published_core.dim_user to ana",
            "too much: ana select on gtm_published_core.dim_user",
        ),
        (
            "grant select on gtm_reader_core.dim_user to public",
            "too much: public select on gtm_reader_core.dim_user",
        ),
        ("grant select (email) on gtm_published_core.dim_user to ana", "dim_user.email"),
        ("grant usage on schema gtm_access to gtm_bi", "too much: gtm_bi usage on gtm_access"),
        ("grant gtm_sees_confidential to gtm_bi", "too much: gtm_bi is a member of gtm_sees_confidential"),
        ("revoke gtm_analyst from ana", "missing: ana is no member of gtm_analyst"),
        ("alter role rita bypassrls", "too much: rita may pass by policies"),
        ("alter table gtm_published_core.fct_opportunity disable row level security", "changed: gtm_reader_core."),
        ("drop policy people on gtm_published_core.fct_opportunity", "changed: gtm_reader_core."),
        ("create policy more on gtm_published_core.fct_opportunity using (true)", "changed: gtm_reader_core."),
        ("alter view gtm_reader_core.dim_user set (security_barrier = false)", "changed: gtm_reader_core."),
        (
            "create or replace view gtm_reader_certified.deals with (security_barrier) as"
            " select opportunity_id, owner_user_key, cast(user_name as text) as owner_name"
            " from gtm_published_core.fct_opportunity inner join gtm_published_core.dim_user"
            " on owner_user_key = user_key",
            "changed: gtm_reader_certified.",
        ),
        ("drop view gtm_reader_certified.deals", "changed: gtm_reader_certified."),
        (
            "create or replace view gtm_reader_core.dim_date with (security_barrier) as select 2 as date_key",
            "changed: gtm_reader_core.",
        ),
        ("revoke select on all tables in schema gtm_reader_mart from gtm_bi", "missing: gtm_bi select on tables"),
        (
            "revoke select (email) on gtm_reader_core.dim_user from gtm_auditor",
            'missing: reads of gtm_reader_core."dim_user".email are not logged',
        ),
        (
            "grant select on gtm_published_core.dim_date to gtm_auditor",
            'too much: reads of gtm_published_core."dim_date" are logged',
        ),
        ("grant gtm_auditor to ana", "too much: ana is a member of gtm_auditor"),
        ("grant gtm_view_owner to ana", "too much: ana is a member of gtm_view_owner"),
    ],
)
def test_the_check_finds_what_the_file_does_not_say_and_apply_puts_it_right(shared, statement, said):
    assert shared.enforcer().check().passed
    with closing(shared.server.open()) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
    found = shared.enforcer().check()
    assert not found.passed and said in found.sentence
    shared.apply()
    assert shared.enforcer().check().passed


@pytest.mark.slow
@needs_postgres
def test_a_person_who_is_gone_from_the_file_loses_everything(organisation):
    organisation.file.write_text(organisation.file.read_text().replace("  rita:", "  # rita:"))
    organisation.apply()
    with pytest.raises(Exception, match="not permitted to log in"):
        organisation.asked("rita", "select 1")
    assert organisation.enforcer().check().passed


@pytest.mark.slow
@needs_postgres
def test_what_can_not_be_enforced_changes_nothing(organisation):
    before = organisation.file.read_text()
    for change, said in [
        (
            ("Rita@acme.example", "nobody@acme.example"),
            r"no such person or division: rita \(nobody@acme\.example\)",
        ),
        (("regions: [North]", "regions: [Mars]"), r"no such person or division: north \(Mars\)"),
        (("  tool:", "  gtm:"), "the server has a role gtm that this file did not make"),
        (
            ('  - {columns: ["*email*"], mask: email}\n', ""),
            r"masks 1 columns with personal data: gtm_core\.dim_user\.email",
        ),
    ]:
        organisation.file.write_text(before.replace(*change))
        with pytest.raises(AccessError, match=said):
            organisation.enforcer().apply()
        organisation.file.write_text(before)
        assert organisation.enforcer().check().passed


@pytest.mark.slow
@needs_postgres
def test_what_is_published_next_is_guarded_as_what_was_published_first(organisation):
    tables = {
        **FILE,
        "gtm_core.dim_user": FILE["gtm_core.dim_user"].replace(
            "select *", "select *, 'private-' || user_key as home_email"
        ),
        "gtm_mart.rep_owners": f"select user_key as owner_user_key from ({USERS})",
        "gtm_core.fct_opportunity": FILE["gtm_core.fct_opportunity"].replace("100", "200"),
    }
    del tables["gtm_core.dim_date"]
    users = DESCRIBED["gtm_core.dim_user"]
    described = {
        **DESCRIBED,
        "gtm_mart.rep_owners": Table("Owners.", {"owner_user_key": ""}, row_rule="owner_user_key"),
        "gtm_core.dim_user": Table(
            users.description,
            users.columns,
            users.key,
            tiers={**users.tiers, "home_email": "confidential"},
            row_rule=users.row_rule,
        ),
    }
    organisation.publish(tables, described, run=2)
    assert organisation.asked("rita", "select owner_user_key from gtm_reader_mart.rep_owners") == [("k-rita",)]
    amounts = "select cast(sum(amount) as text) from gtm_reader_core.fct_opportunity"
    assert organisation.asked("rita", amounts) == [("200.00",)]
    assert organisation.asked("rita", "select owner_name from gtm_reader_certified.deals") == [("R. R.",)]
    emails = "select distinct home_email from gtm_reader_core.dim_user"
    assert organisation.asked("rita", emails) == [("***@example.com",)]
    with pytest.raises(Exception, match="does not exist"):
        organisation.asked("ana", "select * from gtm_reader_core.dim_date")
    assert organisation.enforcer(described).check().passed


@pytest.mark.slow
@needs_postgres
def test_a_new_column_with_personal_data_and_no_mask_is_not_published(organisation):
    users = DESCRIBED["gtm_core.dim_user"]
    tables = {
        **FILE,
        "gtm_core.dim_user": FILE["gtm_core.dim_user"].replace("select *", "select *, 'x' as passport"),
    }
    for tiers, rule, said in [
        (
            {**users.tiers, "passport": "confidential"},
            "everyone",
            "dim_user.passport holds confidential personal data",
        ),
        (users.tiers, "", "has no rule that says whose its rows are"),
    ]:
        described = {
            **DESCRIBED,
            "gtm_core.dim_user": Table(users.description, users.columns, users.key, tiers=tiers, row_rule=rule),
        }
        with pytest.raises(AccessError, match=said):
            organisation.publish(tables, described, run=2)
        (organisation.folder / "published-2.duckdb").unlink()
    organisation.file.rename(organisation.folder / "elsewhere.yml")
    with pytest.raises(AccessError, match="GTM_ACCESS_FILE"):
        organisation.publish(tables, run=3)
    assert len(organisation.asked("ana", "select * from gtm_reader_core.dim_user")) == 5


@pytest.mark.slow
@needs_postgres
def test_a_password_is_changed_without_the_server_seeing_it(organisation):
    before = organisation.passwords["ana"]
    organisation.passwords["ana"] = organisation.enforcer().rotate("ana")
    assert organisation.asked("ana", "select 1") == [(1,)]
    organisation.passwords["ana"], new = before, organisation.passwords["ana"]
    with pytest.raises(Exception, match="password authentication failed"):
        organisation.asked("ana", "select 1")
    assert new not in str(organisation.server.open)
    with pytest.raises(AccessError, match="has no login nobody"):
        organisation.enforcer().rotate("nobody")


# -- where PostgreSQL is the engine ------------------------------------------------------------------------------


@pytest.mark.slow
@needs_postgres
def test_where_postgresql_is_the_engine_what_it_publishes_is_guarded_too(server, tmp_path):
    from gtm_assets.definitions import definitions
    from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
    from gtm_assets.serving.names import ACCESS_CHECK
    from gtm_assets.settings import load_settings

    with database(server) as address:
        organisation = Organisation(address, tmp_path)
        given = {"GTM_ENGINE": "postgres", "GTM_WAREHOUSE_URL": address, "GTM_HOME": str(tmp_path / "gtm")}
        settings = load_settings({**given, "GTM_ACCESS_FILE": str(organisation.file)})
        defs = definitions(settings)
        assert ACCESS_CHECK in {
            key.name for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key == PUBLISHED
        }
        engine = defs.resources["warehouse"].engine
        engine.prepare()
        with connected(address) as cursor:
            for schema in ("gtm_core", "gtm_mart", "gtm_meta"):
                cursor.execute(f"create schema if not exists {schema}")
            for table, sql in FILE.items():
                cursor.execute(f"create table {table} as {sql.replace(f'({USERS})', f'({USERS}) as users')}")
            cursor.connection.commit()

        def publish(run: int) -> None:
            said = tmp_path / f"said-{run}.duckdb"
            with duckdb.connect(str(said)) as file:
                file.execute("create schema gtm_meta")
                file.execute(f"create table gtm_meta.publication as select {run} as run")
            engine.publish(said, DESCRIBED)

        publish(1)
        organisation.apply()
        with connected(address) as cursor:
            cursor.execute("update gtm_core.fct_opportunity set amount = 7 where owner_user_key = 'k-rita'")
            cursor.execute("alter table gtm_core.dim_user add column home_email text default 'r@home.example'")
            cursor.connection.commit()
        with pytest.raises(AccessError, match=r"dim_user\.home_email holds confidential personal data"):
            users = DESCRIBED["gtm_core.dim_user"]
            tiers = {**users.tiers, "home_email": "confidential"}
            text = organisation.file.read_text()
            organisation.file.write_text(text.replace('"*email*"', '"email"'))
            try:
                engine.publish(
                    tmp_path / "said-1.duckdb", {**DESCRIBED, "gtm_core.dim_user": replace(users, tiers=tiers)}
                )
            finally:
                organisation.file.write_text(text)
        publish(2)
        seen = organisation.asked("rita", "select cast(sum(amount) as text) from gtm_reader_core.fct_opportunity")
        assert seen == [("7.00",)]
        assert organisation.asked("rita", "select owner_name from gtm_reader_certified.deals") == [("R. R.",)]
        for hidden in ("gtm_core.dim_user", "gtm_published_core.dim_user"):
            organisation.refused("rita", f"select * from {hidden}")
        assert organisation.enforcer().check().passed
        without_roles(organisation)
