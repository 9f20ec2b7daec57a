"""What queries cost on a server: the counters of pg_stat_statements, kept by day in its schema ``gtm_meta``.

The server counts since its statistics were reset, and forgets queries for which it has no room. Each snapshot adds
what has been counted since the one before, by login and query.

Source: PostgreSQL's documentation, pg_stat_statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_server import Server
from gtm_assets.serving import audit_log
from gtm_assets.serving.audit import MANUAL, Auditing
from gtm_assets.serving.securing import Names

KEPT_DAYS = 400
ENOUGH = 20
"""Of fewer statements it is not said how long most of them take."""


_VALUES = re.compile(
    r"""--[^\n]* | /\*.*?\*/                       # comments
    | '(?:[^']|'')*' | \$([A-Za-z_]*)\$.*?\$\1\$  # texts
    | (?<![$\w])\d+(?:\.\d+)?                     # numbers
    """,
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class QueryCost:
    """What a query cost in a time."""

    login: str
    calls: int
    seconds: float
    seconds_before: float
    """In the time before that, which was as long."""
    query: str


@dataclass(frozen=True)
class Waits:
    """How often it was waited for a lock, and for how many seconds on average."""

    count: int
    seconds: float


class QueryCosts:
    """The queries of a server."""

    def __init__(self, server: Server, names: Names) -> None:
        """``server`` is reached as the login that publishes."""
        self._server, self._names = server, names

    def not_counted(self) -> list[str]:
        """Why queries are not counted, and what to do about it; nothing where they are."""
        with self._server.transaction("gtm: costs") as cursor:
            return list(_not_counted(cursor, self._names))

    def snapshot(self) -> int:
        """Enter what queries have cost since the last snapshot. Returns how many were called since."""
        meta = self._names.meta
        with self._server.transaction("gtm: costs") as cursor:
            make_tables(cursor, self._names)
            # Two who count at once would count the same twice.
            cursor.execute(f"select cast(pg_advisory_xact_lock(hashtextextended({literal(meta)}, 2)) as text)")
            cursor.fetchall()
            place = _extension(cursor)
            cursor.execute(
                "create temporary table counted on commit drop as select cast(rolname as text) as login, queryid,"
                " cast(sum(calls) as bigint) as calls, sum(total_exec_time + total_plan_time) / 1000 as seconds,"
                f" min(query) as query from {place}.pg_stat_statements inner join pg_roles on userid = oid"
                " where dbid = (select oid from pg_database where datname = current_database()) and toplevel"
                " and queryid is not null group by 1, 2"
            )
            # What was counted before the first snapshot is of this month where the counters are.
            cursor.execute(
                f"select exists (select from {meta}.query_counter) or ("
                f" select stats_reset >= date_trunc('month', now()) from {place}.pg_stat_statements_info)"
            )
            [(counts,)] = cursor.fetchall()
            called = self._add(cursor) if counts else 0
            cursor.execute(f"delete from {meta}.query_counter")
            cursor.execute(f"insert into {meta}.query_counter select login, queryid, calls, seconds from counted")
            cursor.execute(f"delete from {meta}.query_daily where day < current_date - {KEPT_DAYS}")
            cursor.execute(
                f"delete from {meta}.query_text as held where not exists"
                f" (select from {meta}.query_daily as daily where daily.query_id = held.query_id)"
            )
        return called

    def _add(self, cursor: dbapi.Cursor) -> int:
        meta = self._names.meta
        # Counters that are less than they were have begun anew.
        cursor.execute(
            f"insert into {meta}.query_daily as held (day, login, query_id, calls, seconds)"
            " select current_date, login, queryid, calls, seconds from (select counted.login, counted.queryid,"
            " counted.calls - case when goes_on then before.calls else 0 end as calls,"
            " counted.seconds - case when goes_on then before.seconds else 0 end as seconds from counted"
            f" left join {meta}.query_counter as before"
            " on before.login = counted.login and before.query_id = counted.queryid"
            " cross join lateral (select coalesce(counted.calls >= before.calls"
            " and counted.seconds >= before.seconds, false) as goes_on) as compared) as new where calls > 0"
            " on conflict (day, login, query_id) do update set calls = held.calls + excluded.calls,"
            " seconds = held.seconds + excluded.seconds"
        )
        called = int(cursor.rowcount)
        cursor.execute(
            "select queryid, min(query) from counted where not exists"
            f" (select from {meta}.query_text as held where held.query_id = queryid) group by 1"
        )
        texts = [(number, without_values(query)) for number, query in cursor.fetchall()]
        if texts:
            numbers, queries = (pa.array(column) for column in zip(*texts, strict=True))
            cursor.adbc_ingest("texts", pa.table({"number": numbers, "query": queries}), "create", temporary=True)
            cursor.execute(f"insert into {meta}.query_text select number, query from pg_temp.texts")
            cursor.execute("drop table pg_temp.texts")
        return called

    def seconds_by_login(self, now: datetime) -> dict[str, float]:
        """How long the queries of each login took in this month, UTC."""
        return dict(
            self._rows(
                f"select cast(login as text), sum(seconds) from {self._names.meta}.query_daily"
                f" where day >= date '{now:%Y-%m}-01' and day <= date '{now:%Y-%m-%d}' group by 1"
            )
        )

    def dearest(self, now: datetime, days: int, most: int) -> list[QueryCost]:
        """The queries that took longest in the last days, with the time before for comparison."""
        meta, begin, before = self._names.meta, now - timedelta(days=days), now - timedelta(days=2 * days)
        rows = self._rows(
            "select cast(login as text), cast(sum(calls) filter (where is_now) as bigint), sum(seconds)"
            " filter (where is_now) as took, coalesce(sum(seconds) filter (where not is_now), 0), query"
            f" from (select *, day > date '{begin:%Y-%m-%d}' as is_now from {meta}.query_daily"
            f" where day > date '{before:%Y-%m-%d}') as daily left join {meta}.query_text using (query_id)"
            " group by login, query having sum(seconds) filter (where is_now) > 0"
            f" order by took desc, login limit {most}"
        )
        return [QueryCost(login, calls, took, earlier, query or "") for login, calls, took, earlier, query in rows]

    def by_month(self) -> list[tuple[str, float]]:
        """The seconds of each month that is kept, the newest first."""
        return self._rows(
            f"select to_char(day, 'YYYY-MM'), sum(seconds) from {self._names.meta}.query_daily"
            " group by 1 order by 1 desc"
        )

    def slowest(self, roles: Mapping[str, Sequence[str]], now: datetime) -> dict[str, float]:
        """In how many seconds 95 % of the statements of a role's logins ended in the last 24 hours."""
        pairs = [f"({literal(role)}, {literal(login)})" for role, logins in roles.items() for login in logins]
        if not pairs:
            return {}
        since = (now - timedelta(days=1)).isoformat()
        return dict(
            self._rows(
                "select role, percentile_cont(0.95) within group (order by seconds)"
                f" from {self._names.audit}.statement_duration as ended"
                f" inner join (values {', '.join(pairs)}) as held (role, login) using (login)"
                f" where not is_wait and ended_at >= {literal(since)} group by role having count(*) >= {ENOUGH}"
            )
        )

    def waits(self, now: datetime) -> Waits:
        """How long it was waited for locks in the last hour, and is being waited now."""
        since = (now - timedelta(hours=1)).isoformat()
        rows = self._rows(
            "select count(*), coalesce(avg(seconds), 0) from ("
            f" select seconds from {self._names.audit}.statement_duration"
            f" where is_wait and ended_at >= {literal(since)}"
            " union all select cast(extract(epoch from clock_timestamp() - min(waitstart)) as double precision)"
            " from pg_locks where not granted and waitstart is not null"
            " and database = (select oid from pg_database where datname = current_database())"
            " group by pid) as waited"
        )
        [(count, seconds)] = rows
        return Waits(int(count), float(seconds))

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self._server.transaction("gtm: costs") as cursor:
            make_tables(cursor, self._names)
            audit_log.make_tables(cursor, self._names)
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]


def without_values(query: str) -> str:
    """A query without what may be personal in it: the server leaves values of ``copy`` and all comments."""
    return _VALUES.sub("?", query)


def make_tables(cursor: dbapi.Cursor, names: Names) -> None:
    """Make the tables of schema ``gtm_meta`` where they are not there yet."""
    cursor.execute(f"select to_regclass({literal(f'{names.meta}.query_text')}) is not null")
    [(there,)] = cursor.fetchall()
    if there:
        return
    cursor.execute(f"create schema if not exists {names.meta}")
    counted = "login name, query_id bigint, calls bigint not null, seconds double precision not null"
    for table, columns in {
        "query_counter": f"{counted}, primary key (login, query_id)",
        "query_daily": f"day date, {counted}, primary key (day, login, query_id)",
        "query_text": "query_id bigint primary key, query text not null",
    }.items():
        cursor.execute(f"create table if not exists {names.meta}.{table} ({columns})")
    cursor.execute(
        f"comment on table {names.meta}.query_daily is "
        + literal(
            "Seconds that queries of each login took on a day (UTC); query_text has the texts without values."
        )
    )


def _not_counted(cursor: dbapi.Cursor, names: Names) -> Iterator[str]:
    if not Auditing(cursor, names).is_loaded("pg_stat_statements"):
        yield (
            "the server has not loaded pg_stat_statements: set shared_preload_libraries = 'pgaudit, "
            f"pg_stat_statements' in postgresql.conf ({MANUAL})"
        )
        return
    if _extension(cursor) is None:
        yield "let an administrator run in the database: create extension pg_stat_statements"
    cursor.execute("select pg_has_role('pg_read_all_stats', 'usage'), cast(current_user as text)")
    [(may_read, user)] = cursor.fetchall()
    if not may_read:
        yield f'let an administrator run: grant pg_monitor to "{user}"'


def _extension(cursor: dbapi.Cursor) -> str | None:
    """The schema in which pg_stat_statements lies; None where it is no extension of the database."""
    cursor.execute(
        "select cast(cast(extnamespace as regnamespace) as text) from pg_extension"
        " where extname = 'pg_stat_statements'"
    )
    found = cursor.fetchall()
    return str(found[0][0]) if found else None
