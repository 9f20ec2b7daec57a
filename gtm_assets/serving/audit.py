"""Whether a server logs who reads personal and financial data, and lets us read its log.

The extension pgaudit writes what is logged. Its settings are an administrator's; where the login that enforces the
access file is a superuser, it makes those of the database itself.

Source: pgaudit's README, and PostgreSQL's documentation, Error Reporting and Logging and System Administration
Functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.finding import Finding
from gtm_assets.serving.securing import Names

LIBRARIES = ("pgaudit", "pg_stat_statements")
_READ_FILE = "pg_read_binary_file(text, bigint, bigint, boolean)"
MANUAL = "docs/security.md#audit says how"


class Auditing:
    """What a server logs, asked within a transaction."""

    def __init__(self, cursor: dbapi.Cursor, names: Names) -> None:
        """``cursor`` is of the login that publishes, or of one that administers."""
        self._cursor, self._names = cursor, names

    def prepare(self, loader: str) -> None:
        """Make what a superuser alone may make: settings of the database, and rights of the login that publishes.

        Does nothing where the login is none, or the server has not loaded the libraries.
        """
        if not self._holds("(select rolsuper from pg_roles where rolname = current_user)"):
            return
        if self.is_loaded("pgaudit") and not self._covers_us():
            self._cursor.execute("select quote_ident(current_database())")
            [(database,)] = self._cursor.fetchall()
            self._cursor.execute(f"alter database {database} set pgaudit.role = {literal(self._names.auditor)}")
        if self.is_loaded("pg_stat_statements"):
            self._cursor.execute("create extension if not exists pg_stat_statements")
        if self.is_loaded("pgaudit") or self.is_loaded("pg_stat_statements"):
            self._cursor.execute(f'grant pg_monitor to "{loader}"')
            self._cursor.execute(f'grant execute on function {_READ_FILE} to "{loader}"')

    def finding(self, columns: int, place: str) -> Finding:
        """Whether reads of ``columns`` columns with personal data are logged, and the log can be read."""
        if not columns:
            return Finding(True, "No personal data are served.")
        if off := list(self.not_logged()):
            return Finding(
                False,
                f"{place} holds {columns:,} columns with personal data and does not log who reads them: "
                f"{'; '.join(off)} ({MANUAL}).",
            )
        if unread := list(self.not_readable()):
            return Finding(
                False,
                f"{place} logs who reads personal data, but we may not read its log: {'; '.join(unread)} "
                f"({MANUAL}).",
                dg.AssetCheckSeverity.WARN,
            )
        return Finding(True, f"{place} logs who reads personal and financial data, and we read its log.")

    def not_logged(self) -> Iterator[str]:
        """Why nothing is logged, and what to do about it; nothing where it is."""
        if not self.is_loaded("pgaudit"):
            yield (
                "it has not loaded pgaudit. Install it (Debian: apt install postgresql-15-pgaudit) and set "
                "shared_preload_libraries = 'pgaudit, pg_stat_statements' in postgresql.conf"
            )
        elif not self._holds(f"to_regrole({literal(self._names.auditor)}) is not null"):
            yield f"it has no role {self._names.auditor} yet. Run: gtm access apply"
        elif not self._covers_us():
            yield (
                f"pgaudit.role is not {self._names.auditor}. Let an administrator set pgaudit.role ="
                f" '{self._names.auditor}' in postgresql.conf, or grant {self._names.auditor} to the role that is"
                " set there"
            )

    def not_readable(self) -> Iterator[str]:
        """Why its log can't be read, and what to do about it; nothing where it can."""
        self._cursor.execute(
            "select current_setting('logging_collector') = 'on', position('csvlog' in current_setting("
            f"'log_destination')) > 0, has_function_privilege({literal(_READ_FILE)}, 'execute'),"
            " has_function_privilege('pg_ls_logdir()', 'execute') and"
            " pg_has_role('pg_read_all_settings', 'usage'), cast(current_user as text)"
        )
        [(collects, is_csv, may_read, may_list, user)] = self._cursor.fetchall()
        if not collects:
            yield "set logging_collector = on in postgresql.conf"
        if not is_csv:
            yield "set log_destination = 'stderr, csvlog' in postgresql.conf"
        if not may_list:
            yield f'let an administrator run: grant pg_monitor to "{user}"'
        if not may_read:
            yield f'let an administrator run: grant execute on function {_READ_FILE} to "{user}"'

    def is_loaded(self, library: str) -> bool:
        """Whether the server has loaded a library at its start: its settings are known."""
        return self._holds(
            f"exists (select from pg_settings where starts_with(name, {literal(library + '.')})"
            " and context <> 'user' and boot_val is not null)"
        )

    def _covers_us(self) -> bool:
        """Whether pgaudit logs what our role may read."""
        return self._holds(
            "coalesce((select pg_has_role(oid, cast("
            f"{literal(self._names.auditor)} as regrole), 'usage') from pg_roles"
            " where rolname = current_setting('pgaudit.role', true)), false)"
        )

    def _holds(self, condition: str) -> bool:
        self._cursor.execute(f"select {condition}")
        [(holds,)] = self._cursor.fetchall()
        return bool(holds)
