"""Who read personal and financial data on the server that people share, as its log says it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from gtm_assets import clock
from gtm_assets.settings import load_settings
from gtm_assets_tests.postgres_server import database, needs_audit, needs_postgres, running
from gtm_assets_tests.test_access import DESCRIBED, Organisation, made

pytestmark = pytest.mark.slow
READ_FILE = "pg_read_binary_file(text, bigint, bigint, boolean)"


@pytest.fixture(scope="module")
def organisation(tmp_path_factory) -> Iterator[Organisation]:
    # Each file of the log has a name of its own.
    # The short name of its time zone, IST, is another's too.
    settings = {"log_filename": "log-%H%M%S.log", "log_timezone": "Asia/Kolkata"}
    with running(auth="scram-sha-256", **settings) as own, database(own) as address:
        yield from made(address, tmp_path_factory.mktemp("audited"), own)


@pytest.fixture
def log(organisation) -> Any:
    from gtm_assets.serving.audit_log import AuditLog
    from gtm_assets.serving.securing import Names

    return AuditLog(organisation.server, Names("gtm_"))


@needs_postgres
def test_the_hourly_job_reads_the_log_before_it_counts_costs_and_each_build_has_both(tmp_path):
    from gtm_assets.definitions import definitions

    served = {"GTM_HOME": str(tmp_path), "GTM_SERVE_URL": "postgresql://loader@127.0.0.1:1/sales"}
    repository = definitions(load_settings(served)).get_repository_def()
    steps = {asset.to_user_string() for asset in repository.get_job("watch").asset_layer.selected_asset_keys}
    built = {asset.to_user_string() for asset in repository.get_job("transform").asset_layer.selected_asset_keys}
    assert steps == {"served/audit", "served/costs"} < built
    [costs] = [node for node in repository.asset_graph.asset_nodes if node.key.path == ["served", "costs"]]
    assert {parent.to_user_string() for parent in costs.parent_keys} == {"served/audit"}
    checks = {
        check.name for check in repository.asset_graph.asset_check_keys if check.asset_key.path[0] == "served"
    }
    assert {"reads_are_audited", "credentials_are_rotated", "budgets_are_kept", "queries_are_quick"} <= checks


def as_owner(organisation: Organisation, *statements: str) -> list[tuple]:
    """What the last statement gives to the login that publishes."""
    with closing(organisation.server.open()) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if statements[-1].startswith("select") else []


def entries(organisation: Organisation, log: Any, word: str) -> list[tuple]:
    """The entries of the log whose statements hold a word, once the server has written them."""
    sql = (
        "select user_name, roles, objects, outcome from gtm_audit.v_data_access_log"
        f" where statement like '%{word}%' order by accessed_at"
    )
    for _ in range(50):
        log.read(400)
        if found := as_owner(organisation, sql):
            return [(user, *map(tuple, [roles, objects]), outcome) for user, roles, objects, outcome in found]
        time.sleep(0.1)
    return []


@needs_audit
def test_a_read_is_logged_with_login_roles_objects_statement_and_outcome(organisation, log):
    user, deals = "gtm_reader_core.dim_user", "gtm_reader_core.fct_opportunity"
    read = f"select email, amount, 'one \"two\"\nthree' from {user}, {deals} where 'word_read' <> ''"
    organisation.asked("ana", read)
    organisation.asked("rita", f"select opportunity_id from {deals} where 'word_key' <> ''")
    with pytest.raises(Exception, match="division by zero"):
        organisation.asked("ana", f"select amount / (amount - 100) from {deals} where 'word_failed' <> ''")
    organisation.refused("tool", f"select * from {user} where 'word_refused' <> ''")
    organisation.asked("rita", f"select sum(amount) from {deals} where 'word_rita' <> ''")

    assert entries(organisation, log, "word_rita") == [("rita", ("gtm_analyst",), (deals,), "read")]
    assert entries(organisation, log, "word_read") == [("ana", ("gtm_analyst",), (user, deals), "read")]
    assert entries(organisation, log, "three") == entries(organisation, log, "word_read")
    assert entries(organisation, log, "word_failed") == [
        ("ana", ("gtm_analyst",), (deals,), "failed: division by zero")
    ]
    assert entries(organisation, log, "word_refused") == [
        ("tool", ("gtm_bi",), ("gtm_reader_core",), "refused: permission denied for schema gtm_reader_core")
    ]
    [(late,)] = as_owner(
        organisation, "select max(abs(extract(epoch from now() - accessed_at)))::int from gtm_audit.data_access"
    )
    assert late < 120
    # It read no column with personal or financial data.
    found = as_owner(organisation, "select count(*) from gtm_audit.data_access where statement like '%word_key%'")
    assert found == [(0,)]


@needs_audit
def test_whoever_reads_tables_around_the_views_is_logged_and_what_the_platform_writes_is_not(organisation, log):
    table = "gtm_published_core.dim_user"
    as_owner(organisation, f"select email from {table} where 'word_around' <> ''")
    as_owner(organisation, f"update {table} set email = email where 'word_written' <> ''")
    as_owner(organisation, f"select email from {table} where 'word_last' <> ''")

    assert entries(organisation, log, "word_last") == [("gtm", ("gtm_view_owner", "pg_monitor"), (table,), "read")]
    assert entries(organisation, log, "word_around") == [
        ("gtm", ("gtm_view_owner", "pg_monitor"), (table,), "read")
    ]
    written = as_owner(
        organisation, "select count(*) from gtm_audit.data_access where statement like '%_written%'"
    )
    assert written == [(0,)]


@needs_audit
def test_a_reading_goes_on_where_the_last_ended_through_files_that_are_new_and_readings_that_break_off(
    organisation, log, monkeypatch
):
    from gtm_assets.serving import audit_log

    email = "select email from gtm_reader_core.dim_user where 'word_{}' <> ''"
    organisation.asked("ana", email.format("first"))
    assert len(entries(organisation, log, "word_first")) == 1
    organisation.asked("ana", email.format("broken"))
    [(files,)] = as_owner(organisation, "select count(*) from pg_ls_logdir() where name like '%.csv'")
    as_owner(organisation, "select pg_rotate_logfile()")
    while as_owner(organisation, "select count(*) from pg_ls_logdir() where name like '%.csv'") == [(files,)]:
        time.sleep(0.1)
    organisation.asked("ana", email.format("rotated"))
    keep = audit_log._FileReading._keep

    def fails(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(audit_log._FileReading, "_keep", fails)
    with pytest.raises(RuntimeError, match="killed"):
        log.read(400)
    count = "select count(*) from gtm_audit.data_access where statement like '%word_broken%'"
    assert as_owner(organisation, count) == [(0,)]
    monkeypatch.setattr(audit_log._FileReading, "_keep", keep)
    monkeypatch.setattr(audit_log, "AT_A_TIME", 100_000)

    for word in ("rotated", "broken", "first"):
        assert len(entries(organisation, log, f"word_{word}")) == 1
    assert as_owner(organisation, "select count(*) from gtm_audit.log_position") == [(files + 1,)]
    # A file of a name that was there begins anew: another server's, or last week's.
    before = as_owner(organisation, "select count(*) from gtm_audit.data_access")
    as_owner(organisation, "update gtm_audit.log_position set head = 'another'")
    assert log.read(400).statements == 0
    assert as_owner(organisation, "select count(*) from gtm_audit.data_access") == before


@needs_audit
def test_entries_are_kept_for_400_days_and_read_by_administrators_alone(organisation, log):
    log.read(400)
    old = (
        "insert into gtm_audit.data_access values ('s', {0}, {0}, now() - interval '{0} days', 'eve', '{{}}', 'd'"
    )
    as_owner(organisation, *(f"{old.format(days)}, '', '', '{{x}}', 'old', 'read')" for days in (399, 401)))
    log.read(400)
    kept = as_owner(organisation, "select statement_id from gtm_audit.data_access where login = 'eve'")
    assert kept == [(399,)]
    assert organisation.asked(
        "boss", "select count(*) from gtm_audit.v_data_access_log where user_name = 'eve'"
    ) == [(1,)]
    for login in ("ana", "tool", "dev", "loader2"):
        organisation.refused(login, "select * from gtm_audit.v_data_access_log")
    organisation.refused("boss", "delete from gtm_audit.data_access")
    assert organisation.enforcer().check().passed


@needs_audit
def test_the_check_passes_where_reads_are_logged_and_says_what_an_administrator_has_to_do(organisation):
    from gtm_assets.serving.audit import Auditing
    from gtm_assets.serving.securing import Names

    assert organisation.enforcer().audited().passed
    with organisation.server.transaction() as cursor:
        cursor.execute("set local role ana")
        found = Auditing(cursor, Names("gtm_")).finding(3, "The server")
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert 'grant pg_monitor to "ana"; let an administrator run: grant execute on function' in found.sentence
        cursor.execute("reset role")
        cursor.execute("set local pgaudit.role = 'ana'")
        found = Auditing(cursor, Names("gtm_")).finding(3, "The server")
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert "pgaudit.role is not gtm_auditor" in found.sentence
        # A company's own auditor role has ours.
        cursor.execute("create role company_auditor")
        cursor.execute("grant gtm_auditor to company_auditor")
        cursor.execute("set local pgaudit.role = 'company_auditor'")
        assert Auditing(cursor, Names("gtm_")).finding(3, "The server").passed
        cursor.connection.rollback()


@needs_audit
def test_without_a_superuser_each_step_that_an_administrator_has_to_take_is_said_and_then_it_works(tmp_path):
    from gtm_assets.engines.postgres_server import Server
    from gtm_assets.serving.access import Enforcer
    from gtm_assets.serving.audit_log import AuditLog
    from gtm_assets.serving.query_costs import QueryCosts
    from gtm_assets.serving.securing import Names

    with running(auth="scram-sha-256") as own, database(own) as address:
        plain, place = Organisation(address, tmp_path), address.partition("@")[2]

        def administrator(*statements: str) -> None:
            as_owner(Organisation(address, tmp_path), *statements)

        administrator(
            "create role loader login password 'x'",
            "create role maker login createrole password 'x'",
            "grant loader to maker",
            f"grant create on database {address.rpartition('/')[2]} to loader, maker",
        )
        plain.server = Server(f"postgresql://loader:x@{place}", "GTM_SERVE_URL")
        maker = Server(f"postgresql://maker:x@{place}", "GTM_SERVE_ADMIN_URL")
        plain.publish()
        enforcer = Enforcer(plain.server, maker, "gtm_", plain.file, DESCRIBED)
        enforcer.apply()
        assert enforcer.check().passed
        costs = QueryCosts(plain.server, Names("gtm_"))
        assert [lack.partition(": ")[2] for lack in costs.not_counted()] == [
            "create extension pg_stat_statements",
            'grant pg_monitor to "loader"',
        ]
        for statement, said in [
            ("alter system set pgaudit.role = 'gtm_auditor'", "set pgaudit.role = 'gtm_auditor'"),
            ("grant pg_monitor to loader", 'grant pg_monitor to "loader"'),
            (
                f"grant execute on function {READ_FILE} to loader",
                f'grant execute on function {READ_FILE} to "loader"',
            ),
        ]:
            assert said in enforcer.audited().sentence
            administrator(statement, "select pg_reload_conf()")
            time.sleep(0.3)
        assert enforcer.audited().passed
        administrator("create extension pg_stat_statements")
        plain.passwords["ana"] = enforcer.rotate("ana")
        plain.asked("ana", "select email from gtm_reader_core.dim_user where 'word_plain' <> ''")
        assert len(entries(plain, AuditLog(plain.server, Names("gtm_")), "word_plain")) == 1
        costs.snapshot()
        assert costs.seconds_by_login(clock.now())["ana"] > 0
        enforcer.refuse_role("analyst")
        assert enforcer.check().sentence.endswith("nothing more. analyst is refused until the month ends.")
        enforcer.lift("analyst", "maker")
        assert enforcer.check().passed and enforcer.refused() == set()


@needs_postgres
def test_a_server_that_logs_nothing_fails_the_check_unless_it_holds_no_personal_data(tmp_path):
    from gtm_assets.serving.query_costs import QueryCosts
    from gtm_assets.serving.securing import Names

    with running(auth="scram-sha-256", shared_preload_libraries="") as own, database(own) as address:
        bare = Organisation(address, tmp_path)
        bare.publish()
        bare.enforcer().apply()
        found = bare.enforcer().audited()
        assert not found.passed and found.severity == dg.AssetCheckSeverity.ERROR
        assert "7 columns with personal data and does not log who reads them: it has not loaded pgaudit" in (
            found.sentence
        )
        dates = {"gtm_core.dim_date": DESCRIBED["gtm_core.dim_date"]}
        assert bare.enforcer(dates).audited().passed
        # What can't be logged is enforced all the same.
        assert bare.enforcer().check().passed
        [lack] = QueryCosts(bare.server, Names("gtm_")).not_counted()
        assert "has not loaded pg_stat_statements: set shared_preload_libraries" in lack


@needs_postgres
def test_credentials_that_are_old_are_named_by_the_kind_of_their_login(organisation, monkeypatch):
    from gtm_assets.serving.credentials import days_allowed

    allowed = days_allowed(load_settings({"GTM_EMBEDDING_CREDENTIAL_DAYS": "180"}))
    text = organisation.file.read_text()
    organisation.file.write_text(text.replace("tool: {roles: [bi]", "tool: {kind: embedding, roles: [bi]"))
    now = datetime.now(UTC)
    try:
        assert organisation.enforcer().credentials(allowed).passed
        monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=90, minutes=1))
        found = organisation.enforcer().credentials(allowed)
        assert not found.passed and found.severity == dg.AssetCheckSeverity.WARN
        assert "ana (person: 90 days, 90 are allowed)" in found.sentence and "tool" not in found.sentence
        monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=180, minutes=1))
        assert (
            "tool (embedding: 180 days, 180 are allowed)" in organisation.enforcer().credentials(allowed).sentence
        )
    finally:
        organisation.file.write_text(text)


@needs_audit
def test_the_review_says_what_each_login_may_and_did_and_records_who_signed_it(organisation, log, tmp_path):
    from gtm_assets.serving.access_file import AccessError
    from gtm_assets.serving.query_costs import QueryCosts
    from gtm_assets.serving.review import Reviewing
    from gtm_assets.serving.securing import Names

    organisation.asked("max", "select amount from gtm_reader_core.fct_opportunity where 'word_review' <> ''")
    assert entries(organisation, log, "word_review")
    QueryCosts(organisation.server, Names("gtm_")).snapshot()
    reviewing = Reviewing(organisation.enforcer(), "gtm_")
    review = reviewing.write(tmp_path / "reviews")
    today, now = f"{datetime.now(UTC):%Y-%m-%d}", datetime.now(UTC)
    assert review.quarter == f"{now.year}-Q{(now.month + 2) // 3}"
    assert f"| max | person | analyst | team | {today} | {today} | mart |" in review.text
    assert "| north | person | analyst | region North | never | never | everything |" in review.text
    assert "Logins that were not used: " in review.text and "Roles that nobody has: ingest." in review.text
    with pytest.raises(AccessError, match="signed off by somebody"):
        reviewing.sign(review, " ", "")
    reviewing.sign(review, "Tina O'Top", "north leaves")
    signed = as_owner(organisation, "select quarter, signed_by, remark, review from gtm_audit.access_review")
    assert signed == [(review.quarter, "Tina O'Top", "north leaves", review.text)]
    assert "Signed off by Tina O'Top" in review.path.read_text()


@needs_audit
def test_it_is_counted_how_long_was_waited_for_a_lock_and_is_being_waited(organisation, log):
    from gtm_assets.serving.query_costs import QueryCosts
    from gtm_assets.serving.securing import Names

    costs, share = (
        QueryCosts(organisation.server, Names("gtm_")),
        "lock table gtm_published_core.dim_date in {} mode",
    )

    def wait() -> None:
        with organisation.server.transaction() as cursor:
            cursor.execute(share.format("share"))

    waiter = threading.Thread(target=wait)
    with organisation.server.transaction() as cursor:
        cursor.execute(share.format("access exclusive"))
        waiter.start()
        # PostgreSQL logs what waits longer than deadlock_timeout, a second by default.
        time.sleep(1.5)
        under_way = costs.waits(clock.now())
    waiter.join()
    assert under_way.count == 1 and 0.5 < under_way.seconds < 30
    sql = "select count(*), max(seconds) from gtm_audit.statement_duration where is_wait"
    for _ in range(50):
        log.read(400)
        if (found := as_owner(organisation, sql))[0][0]:
            break
        time.sleep(0.1)
    [(count, seconds)] = found
    assert count == 1 and 1 < seconds < 30
    assert costs.waits(clock.now()).count == 1
    as_owner(organisation, "delete from gtm_audit.statement_duration")


@needs_audit
def test_what_waited_or_took_long_is_counted_by_role(organisation, log):
    from gtm_assets.serving.query_costs import QueryCosts
    from gtm_assets.serving.securing import Names

    log.read(400)
    costs = QueryCosts(organisation.server, Names("gtm_"))
    now = clock.now()
    rows = ", ".join(f"('t', {n}, now(), 'ana', {n}, {n % 2 == 0})" for n in range(1, 61))
    as_owner(organisation, f"insert into gtm_audit.statement_duration values {rows}")
    slowest = costs.slowest({"analyst": ["ana"], "bi": ["tool"]}, now)
    waits = costs.waits(now)
    as_owner(organisation, "delete from gtm_audit.statement_duration where session_id = 't'")
    assert slowest["analyst"] > 40
    assert (waits.count, waits.seconds) == (30, 31.0)
