"""Who read what of personal and financial data: the server's log, kept in its schema ``gtm_audit``.

Each reading goes on in each file of the log where the one before ended, and both the records and the place are
committed together: nothing is read twice or left out, wherever a reading is cut off. A file of the same name that
begins otherwise is another file.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_server import Server
from gtm_assets.serving.csv_log import Record, part_of
from gtm_assets.serving.row_rules import READ_BY_PEOPLE
from gtm_assets.serving.securing import Names

AT_A_TIME = 8 << 20
"""So many bytes of a file are read at a time."""
LONGEST_RECORD = 64 << 20
"""What is longer than that is no record: a line before was cut off."""
_HEAD = 256
"""By so many bytes at its begin a file is told from another of the same name."""
_DENIED = "42501"
"""The code of an error where a login lacks a right. Source: PostgreSQL's documentation, Error Codes."""
_DENIED_OBJECT = re.compile(r"permission denied for (?:table|view|materialized view|schema|relation) (\S+)")
_INSTANT = "cast(left(at, 23) as timestamp) at time zone current_setting('log_timezone')"
"""A time of the log. Its time zone's short name may be another's too."""
_TIMED = ("SELECT", "FETCH", "COPY", "CREATE TABLE AS", "INSERT", "UPDATE", "DELETE", "MERGE")
"""The commands of which it counts how long they take. Others take no time, or are part of one."""


@dataclass
class Access:
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
class _Failure:
    session: str
    line: int
    statement: str
    outcome: str


@dataclass(frozen=True)
class _Duration:
    session: str
    line: int
    at: str
    login: str
    database: str
    milliseconds: float
    is_wait: bool
    """Whether it was waited for a lock."""


@dataclass(frozen=True)
class Reading:
    """What a reading of the log found."""

    files: int
    bytes: int
    statements: int
    damaged: int
    """Lines that are no records, as they were cut off."""


@dataclass
class _Found:
    accesses: dict[tuple[str, int], Access] = field(default_factory=dict)
    failures: list[_Failure] = field(default_factory=list)
    durations: list[_Duration] = field(default_factory=list)


class AuditLog:
    """The log of a server."""

    def __init__(self, server: Server, names: Names) -> None:
        """``server`` is reached as the login that publishes, which may read the log."""
        self._server, self._names = server, names

    def read(self, kept_days: int) -> Reading:
        """Enter what the server has logged since the last reading, and forget what is older than so many days.

        Raises:
            EngineAway: the server is away.
            dbapi.Error: we may not read its log.
        """
        with self._server.transaction("gtm: audit") as cursor:
            make_tables(cursor, self._names)
            files = _files(cursor, kept_days)
            for table, column, days in (
                ("data_access", "accessed_at", kept_days),
                ("statement_duration", "ended_at", min(kept_days, 62)),
                ("log_position", "read_at", kept_days),
            ):
                cursor.execute(
                    f"delete from {self._names.audit}.{table}"
                    f" where {column} < now() - make_interval(days => {days})"
                )
        size, statements, damaged, touched = 0, 0, 0, 0
        for path, length, is_over in files:
            reading = _FileReading(self._server, self._names, path, is_over)
            while step := reading.go_on(length):
                size += step.bytes
                statements += step.statements
                damaged += step.damaged
            touched += reading.is_touched
        return Reading(touched, size, statements, damaged)

    def entries(self, login: str | None, days: int, most: int) -> list[tuple[str, ...]]:
        """The newest entries: when, who, with which roles, what, how it ended, and by which statement."""
        whose = f" and user_name = {literal(login)}" if login else ""
        with self._server.transaction("gtm: audit") as cursor:
            make_tables(cursor, self._names)
            cursor.execute(
                "select to_char(accessed_at, 'YYYY-MM-DD HH24:MI:SS'), user_name, array_to_string(roles, ', '),"
                f" array_to_string(objects, ', '), outcome, statement from {self._names.audit}.v_data_access_log"
                f" where accessed_at > now() - make_interval(days => {days}){whose}"
                f" order by accessed_at desc limit {most}"
            )
            return [tuple(row) for row in cursor.fetchall()]


class _FileReading:
    """One file, read part by part, each in a transaction of its own."""

    def __init__(self, server: Server, names: Names, path: str, is_over: bool) -> None:
        """``is_over`` says that the server writes another file by now."""
        self._server, self._names, self._path, self._is_over = server, names, path, is_over
        self.is_touched = False
        self._is_done = False

    def go_on(self, length: int) -> Reading | None:
        """Enter the next part of a file of so many bytes; None where there is none."""
        if self._is_done:
            return None
        with self._server.transaction("gtm: audit") as cursor:
            # Two who read at once would enter the same part.
            cursor.execute(
                f"select cast(pg_advisory_xact_lock(hashtextextended({literal(self._names.audit)}, 1)) as text)"
            )
            cursor.fetchall()
            position, waited = self._position(cursor, length)
            if position >= length:
                return None
            data = b""
            while True:
                more = _bytes(cursor, self._path, position + len(data), AT_A_TIME)
                data += more
                reached = position + len(data)
                is_last = reached >= length
                # What was not whole at the last reading, and is not now, was cut off.
                is_cut = (is_last and (self._is_over or waited)) or len(data) > LONGEST_RECORD
                part = part_of(data, is_cut)
                if part.size or is_last or not more:
                    break
            self._is_done = is_last or not more
            found = found_in(part.records)
            entered = _Entering(cursor, self._names).enter(found)
            self._keep(cursor, position + part.size, waits=part.size < len(data) and self._is_done)
        self.is_touched |= part.size > 0
        return Reading(1, part.size, entered, part.damaged)

    def _position(self, cursor: dbapi.Cursor, length: int) -> tuple[int, bool]:
        """Up to where the file has been read, and whether that was before a record that was not whole."""
        cursor.execute(
            f"select position, head, head_size, waits from {self._names.audit}.log_position"
            f" where path = {literal(self._path)}"
        )
        for position, head, head_size, waits in cursor.fetchall():
            if position <= length and head == _digest(_bytes(cursor, self._path, 0, head_size)):
                return position, bool(waits)
        return 0, False

    def _keep(self, cursor: dbapi.Cursor, position: int, waits: bool) -> None:
        head_size = min(position, _HEAD)
        head = _digest(_bytes(cursor, self._path, 0, head_size))
        cursor.execute(
            f"insert into {self._names.audit}.log_position values ({literal(self._path)}, {position},"
            f" {literal(head)}, {head_size}, {str(waits).lower()}, now()) on conflict (path) do update set"
            " position = excluded.position, head = excluded.head, head_size = excluded.head_size,"
            " waits = excluded.waits, read_at = excluded.read_at"
        )


def make_tables(cursor: dbapi.Cursor, names: Names) -> None:
    """Make the schema ``gtm_audit`` where it is not there yet."""
    cursor.execute(f"select to_regclass({literal(f'{names.audit}.v_data_access_log')}) is not null")
    [(there,)] = cursor.fetchall()
    if there:
        return
    cursor.execute(f"create schema if not exists {names.audit}")
    for table, columns in {
        "data_access": "session_id text, statement_id bigint, line bigint not null,"
        " accessed_at timestamptz not null, login text not null, roles text[] not null, database text not null,"
        " application text, address text,"
        " objects text[] not null, statement text not null, outcome text not null,"
        " primary key (session_id, statement_id)",
        "statement_duration": "session_id text, line bigint, ended_at timestamptz not null, login text not null,"
        " seconds double precision not null, is_wait boolean not null, primary key (session_id, line)",
        "log_position": "path text primary key, position bigint not null, head text not null,"
        " head_size integer not null, waits boolean not null, read_at timestamptz not null",
        "access_review": "quarter text not null, signed_at timestamptz not null, signed_by text not null,"
        " remark text, digest text not null, review text not null",
    }.items():
        cursor.execute(f"create table if not exists {names.audit}.{table} ({columns})")
    cursor.execute(f"create index if not exists data_access_at on {names.audit}.data_access (accessed_at)")
    cursor.execute(f"create index if not exists statement_ended_at on {names.audit}.statement_duration (ended_at)")
    cursor.execute(
        f"create view {names.audit}.v_data_access_log as select accessed_at, login as user_name, roles, objects,"
        f" statement, outcome, database, application, address from {names.audit}.data_access"
    )
    cursor.execute(
        f"comment on view {names.audit}.v_data_access_log is "
        + literal(
            "One row per statement that read personal or financial data, or was refused. Statements are as they"
            " were written, and may name people."
        )
    )


def found_in(records: Iterable[Record]) -> _Found:
    """What records tell of reads, of statements that failed, and of how long they took."""
    found = _Found()
    for record in records:
        if record.severity == "LOG" and record.message.startswith("AUDIT: OBJECT,"):
            _add_read(found.accesses, record)
        elif record.severity in ("ERROR", "FATAL") and record.statement:
            denied = _DENIED_OBJECT.match(record.message) if record.code == _DENIED else None
            outcome = f"{'refused' if denied else 'failed'}: {record.message}"
            found.failures.append(_Failure(record.session, record.line, record.statement, outcome))
            if denied:
                # What is refused is not read, so that no read of it is logged.
                refused = _access(record, -record.line, record.statement, outcome)
                refused.objects.append(denied[1])
                found.accesses[record.session, -record.line] = refused
        elif record.severity == "LOG" and (duration := _duration(record)):
            found.durations.append(duration)
    return found


def _add_read(accesses: dict[tuple[str, int], Access], record: Record) -> None:
    with suppress(ValueError, csv.Error):
        [fields] = csv.reader([record.message.removeprefix("AUDIT: ")], strict=True)
        _, statement_id, _, kind, _, _, name, statement, *_ = fields
        if kind == "READ":
            key = record.session, int(statement_id)
            access = accesses.setdefault(key, _access(record, key[1], statement, "read"))
            access.objects.append(name)


def _access(record: Record, statement_id: int, statement: str, outcome: str) -> Access:
    return Access(
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


def _duration(record: Record) -> _Duration | None:
    """How long a statement took, or waited for a lock, which its message says in milliseconds."""
    is_wait = " acquired " in record.message and record.message.endswith(" ms")
    text = ""
    if is_wait:
        text = record.message.rpartition(" after ")[2]
    elif record.message.startswith("duration: ") and record.command in _TIMED:
        text = record.message.removeprefix("duration: ")
    with suppress(ValueError):
        took = float(text.split(" ")[0])
        return _Duration(record.session, record.line, record.at, record.login, record.database, took, is_wait)
    return None


class _Entering:
    """Enters what was found, within a transaction."""

    def __init__(self, cursor: dbapi.Cursor, names: Names) -> None:
        self._cursor, self._names = cursor, names

    def enter(self, found: _Found) -> int:
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

    def _enter_accesses(self, accesses: Sequence[Access]) -> int:
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

    def _enter_failures(self, failures: Sequence[_Failure]) -> None:
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

    def _enter_durations(self, durations: Sequence[_Duration]) -> None:
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


def _files(cursor: dbapi.Cursor, kept_days: int) -> list[tuple[str, int, bool]]:
    """The files of the CSV log, as the server names them, their sizes, and whether it writes another by now."""
    cursor.execute("select current_setting('log_directory')")
    [(folder,)] = cursor.fetchall()
    cursor.execute(
        "select name, size, max(modification) over () - modification > interval '1 minute' from pg_ls_logdir()"
        f" where name like '%.csv' and modification > now() - make_interval(days => {kept_days})"
        " order by modification, name"
    )
    return [
        (str(PurePosixPath(folder) / name), int(size), bool(is_over)) for name, size, is_over in cursor.fetchall()
    ]


def _bytes(cursor: dbapi.Cursor, path: str, begin: int, size: int) -> bytes:
    cursor.execute(f"select pg_read_binary_file({literal(path)}, {begin}, {size}, true)")
    [(data,)] = cursor.fetchall()
    return bytes(data or b"")


def _digest(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
