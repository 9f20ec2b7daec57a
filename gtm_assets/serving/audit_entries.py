"""The entries of ``gtm_audit``: what a server's log tells of reads, and of how long statements took."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.serving.csv_log import Record
from gtm_assets.serving.row_rules import READ_BY_PEOPLE
from gtm_assets.serving.securing import Names

_DENIED = "42501"
"""The code of an error where a login lacks a right. Source: PostgreSQL's documentation, Error Codes."""
_DENIED_OBJECT = re.compile(r"permission denied for (?:table|view|materialized view|schema|relation) (\S+)")
_INSTANT = "cast(left(at, 23) as timestamp) at time zone current_setting('log_timezone')"
"""A time of the log. Its time zone's short name may be another's too."""
_TIMED = ("SELECT", "FETCH", "COPY", "CREATE TABLE AS", "INSERT", "UPDATE", "DELETE", "MERGE")
"""The commands of which it counts how long they take. Others take no time, or are part of one."""


@dataclass
class DataAccess:
    """A statement of a login, and what of our data it read."""

    session: str
    statement_id: int
    line: int
    at: str
    login: str
    database: str
    application: str
    address: str
    statement: str
    outcome: str
    objects: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """A statement that failed, and how."""

    session: str
    line: int
    statement: str
    outcome: str


@dataclass(frozen=True)
class Duration:
    """How long a statement took."""

    session: str
    line: int
    at: str
    login: str
    database: str
    milliseconds: float
    is_wait: bool
    """Whether it was waited for a lock."""


@dataclass
class Found:
    """What a part of the log tells."""

    accesses: dict[tuple[str, int], DataAccess] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    durations: list[Duration] = field(default_factory=list)


def found_in(records: Iterable[Record]) -> Found:
    """What records tell of reads, of statements that failed, and of how long they took."""
    found = Found()
    for record in records:
        if record.severity == "LOG" and record.message.startswith("AUDIT: OBJECT,"):
            _add_read(found.accesses, record)
        elif record.severity in ("ERROR", "FATAL") and record.statement:
            denied = _DENIED_OBJECT.match(record.message) if record.code == _DENIED else None
            outcome = f"{'refused' if denied else 'failed'}: {record.message}"
            found.failures.append(Failure(record.session, record.line, record.statement, outcome))
            if denied:
                # What is refused is not read, so that no read of it is logged.
                refused = _access(record, -record.line, record.statement, outcome)
                refused.objects.append(denied[1])
                found.accesses[record.session, -record.line] = refused
        elif record.severity == "LOG" and (duration := _duration(record)):
            found.durations.append(duration)
    return found


def _add_read(accesses: dict[tuple[str, int], DataAccess], record: Record) -> None:
    with suppress(ValueError, csv.Error):
        [fields] = csv.reader([record.message.removeprefix("AUDIT: ")], strict=True)
        _, statement_id, _, kind, _, _, name, statement, *_ = fields
        if kind == "READ":
            key = record.session, int(statement_id)
            access = accesses.setdefault(key, _access(record, key[1], statement, "read"))
            access.objects.append(name)


def _access(record: Record, statement_id: int, statement: str, outcome: str) -> DataAccess:
    return DataAccess(
        record.session,
        statement_id,
        record.line,
        record.at,
        record.login,
        record.database,
        record.application,
        record.address,
        statement,
        outcome,
    )


def _duration(record: Record) -> Duration | None:
    """How long a statement took, or waited for a lock, which its message says in milliseconds."""
    is_wait = " acquired " in record.message and record.message.endswith(" ms")
    text = ""
    if is_wait:
        text = record.message.rpartition(" after ")[2]
    elif record.message.startswith("duration: ") and record.command in _TIMED:
        text = record.message.removeprefix("duration: ")
    with suppress(ValueError):
        took = float(text.split(" ")[0])
        return Duration(record.session, record.line, record.at, record.login, record.database, took, is_wait)
    return None


class Entering:
    """Enters what was found, within a transaction."""

    def __init__(self, cursor: dbapi.Cursor, names: Names) -> None:
        """``cursor`` is of the login that publishes."""
        self._cursor, self._names = cursor, names

    def enter(self, found: Found) -> int:
        """Returns how many statements are new."""
        self._cursor.execute("select cast(current_database() as text)")
        [(database,)] = self._cursor.fetchall()
        people = self._people()
        accesses = [one for one in found.accesses.values() if one.database == database]
        for access in accesses:
            if access.login in people and access.statement_id > 0:
                # They may not read tables: what they read is a view, which reads its table for them.
                access.objects = [name for name in access.objects if not self._is_table(name)]
        # A statement that was refused counts where it is of ours, which its login's being ours says.
        accesses = [one for one in accesses if one.objects or (one.statement_id < 0 and one.login in people)]
        entered = self._enter_accesses(accesses)
        self._enter_failures(found.failures)
        durations = (one for one in found.durations if one.database == database)
        self._enter_durations([one for one in durations if one.is_wait or one.login in people])
        return entered

    def _people(self) -> set[str]:
        """The logins of the access file."""
        self._cursor.execute(f"select to_regclass({literal(f'{self._names.access}.user_scope')}) is not null")
        [(there,)] = self._cursor.fetchall()
        if not there:
            return set()
        self._cursor.execute(f"select cast(login as text) from {self._names.access}.user_scope")
        return {login for (login,) in self._cursor.fetchall()}

    def _is_table(self, name: str) -> bool:
        return name.split(".")[0] in map(self._names.published, READ_BY_PEOPLE)

    def _enter_accesses(self, accesses: Sequence[DataAccess]) -> int:
        if not accesses:
            return 0
        columns = ("session", "statement_id", "line", "at", "login", "database", "application", "address")
        texts = {name: [getattr(one, name) for one in accesses] for name in (*columns, "statement", "outcome")}
        self._bring("accesses", {**texts, "objects": [json.dumps(one.objects) for one in accesses]})
        self._cursor.execute(
            "with entered as ("
            f" insert into {self._names.audit}.data_access as held (session_id, statement_id, line,"
            " accessed_at, login, roles, database, application, address, objects, statement, outcome)"
            f" select session, statement_id, line, {_INSTANT}, login, array("
            "  select cast(roles.rolname as text) from pg_auth_members"
            "  inner join pg_roles as roles on roleid = roles.oid"
            "  inner join pg_roles as members on member = members.oid where members.rolname = login order by 1),"
            " database, application, address,"
            " array(select distinct value from json_array_elements_text(cast(objects as json)) as value"
            "  order by 1),"
            " statement, outcome from pg_temp.accesses"
            " on conflict (session_id, statement_id) do update set"
            "  objects = array(select distinct unnest(held.objects || excluded.objects) order by 1)"
            " returning xmax = 0 as is_new) select count(*) from entered where is_new"
        )
        [(entered,)] = self._cursor.fetchall()
        self._cursor.execute("drop table pg_temp.accesses")
        return int(entered)

    def _enter_failures(self, failures: Sequence[Failure]) -> None:
        if not failures:
            return
        names = ("session", "line", "statement", "outcome")
        self._bring("failures", {name: [getattr(one, name) for one in failures] for name in names})
        # Of the reads of the session by the same statement, the last before the error is the one that failed.
        self._cursor.execute(
            f"update {self._names.audit}.data_access as held set outcome = failed.outcome from ("
            " select distinct on (failures.session, failures.line) failures.session, failures.outcome,"
            f" reads.statement_id from pg_temp.failures inner join {self._names.audit}.data_access as reads"
            " on reads.session_id = failures.session and reads.statement = failures.statement"
            " and reads.line < failures.line and reads.statement_id > 0"
            " order by failures.session, failures.line, reads.line desc) as failed"
            " where held.session_id = failed.session and held.statement_id = failed.statement_id"
        )
        self._cursor.execute("drop table pg_temp.failures")

    def _enter_durations(self, durations: Sequence[Duration]) -> None:
        if not durations:
            return
        names = ("session", "line", "at", "login", "milliseconds", "is_wait")
        self._bring("durations", {name: [getattr(one, name) for one in durations] for name in names})
        self._cursor.execute(
            f"insert into {self._names.audit}.statement_duration select session, line, {_INSTANT},"
            " login, milliseconds / 1000, is_wait from pg_temp.durations on conflict do nothing"
        )
        self._cursor.execute("drop table pg_temp.durations")

    def _bring(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        self._cursor.adbc_ingest(name, pa.table(columns), mode="create", temporary=True)
