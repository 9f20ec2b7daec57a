"""Who read what of personal and financial data: the server's log, kept in its schema ``gtm_audit``.

Each reading goes on in each file of the log where the one before ended, and both the records and the place are
committed together: nothing is read twice or left out, wherever a reading is cut off. A file of the same name that
begins otherwise is another file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_server import Server
from gtm_assets.serving.audit_entries import Entering, found_in
from gtm_assets.serving.csv_log import part_of
from gtm_assets.serving.securing import Names

AT_A_TIME = 8 << 20
"""So many bytes of a file are read at a time."""
LONGEST_RECORD = 64 << 20
"""What is longer than that is no record: a line before was cut off."""
_HEAD = 256
"""By so many bytes at its begin a file is told from another of the same name."""


@dataclass(frozen=True)
class Reading:
    """What a reading of the log found."""

    files: int
    bytes: int
    statements: int
    damaged: int
    """Lines that are no records, as they were cut off."""


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
            entered = Entering(cursor, self._names).enter(found)
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
