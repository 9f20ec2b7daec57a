"""``gtm share``: a file that holds of what is published what one person may see, by the same access file.

Rows are left out and personal data masked as by the views of a server (:mod:`gtm_assets.serving.securing`). What
the person may not see is not in the file: it is written anew, from nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import literal
from gtm_assets.publishing.datasets import comments_on, tables_in
from gtm_assets.serving.access_file import TIERS, Access, AccessError, Layer, Person, Right
from gtm_assets.serving.masking import columns_of, refuse
from gtm_assets.serving.row_rules import ALL, CERTIFIED, EVERYONE, READ_BY_PEOPLE, VISIBLE_BY

_OPPORTUNITIES = "gtm_core.fct_opportunity"
_QUOTE_RECORDS = ("gtm_meta.checks", "gtm_meta.findings")


@dataclass(frozen=True)
class Sharing:
    """Who a file is for, and as which of their roles."""

    login: str
    person: Person
    roles: tuple[str, ...]

    @classmethod
    def of(cls, access: Access, login: str, role: str | None) -> Sharing:
        """A person of the access file, in one of their roles; without one in all of them.

        Raises:
            AccessError: the file has no such login, or it does not have the role.
        """
        person = access.people.get(login)
        if person is None:
            raise AccessError(
                f"the access file has no login {login}: it has {', '.join(access.people) or 'none'}. Enter it: "
                "gtm access grant"
            )
        if role is not None and role not in person.roles:
            raise AccessError(f"{login} has not the role {role}, but {', '.join(person.roles)}")
        return cls(login, person, person.roles if role is None else (role,))


def share(
    published: Path,
    target: Path,
    access: Access,
    sharing: Sharing,
    described: Mapping[str, Table],
    at: datetime,
) -> dict[str, int]:
    """Write a file with what a person may see of a published file. It appears whole.

    Returns rows per table.

    Raises:
        AccessError: there is a file already, nobody in dim_user is the person, or a column has no mask.
        WarehouseError: the published file can't be read.
    """
    if target.exists():
        raise AccessError(f"{target} is there already. Name another file, or remove it")
    refuse(access, described)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    # Nobody else may read it, from the first byte on.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o600))
    temporary.unlink()
    before = os.umask(0o077)
    try:
        with closing(duckdb.connect()) as files:
            files.execute("set TimeZone = 'UTC'")
            files.execute(f"attach {literal(published)} as published (read_only)")
            files.execute(f"attach {literal(temporary)} as shared")
            rows = _Writing(files, access, sharing, described).write(at)
            files.execute("detach shared")
        temporary.replace(target)
    except duckdb.IOException as error:
        raise WarehouseError(
            f"{published} was not shared: {error}. Publish it, or free space, and run: gtm run"
        ) from error
    finally:
        os.umask(before)
        temporary.unlink(missing_ok=True)
    return rows


class _Writing:
    """The tables of one file."""

    def __init__(
        self,
        files: duckdb.DuckDBPyConnection,
        access: Access,
        sharing: Sharing,
        described: Mapping[str, Table],
    ) -> None:
        self._files, self._access, self._sharing, self._described = files, access, sharing, described
        self._seen = {tier for role in sharing.roles for tier in access.roles[role].sees}
        listed = files.execute(
            "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns()"
            " where database_name = 'published' order by all"
        ).fetchall()
        views = files.execute(
            "select schema_name || '.' || view_name from duckdb_views() where database_name = 'published'"
        ).fetchall()
        self._tables: dict[str, dict[str, str]] = {}
        for table, column, type_ in listed:
            if (table,) not in views:
                self._tables.setdefault(table, {})[column] = type_

    def write(self, at: datetime) -> dict[str, int]:
        self._find_whom_they_see()
        tables = list(self._mask_and_filter())
        rows = {table: self._copy(table) for table in tables if self._may_read(table)}
        for name, what in self._described.items():
            read = {*tables_in(what.query)}
            if read and read <= {*tables} and self._may_read(name):
                rows[name] = self._copy(name, what.query)
        meta = sorted(table for table in self._tables if table.startswith("gtm_meta."))
        for table in meta:
            # Each reader has to know how old the numbers are. What checks found may quote a record.
            is_shown = self._may_read(table) and (table not in _QUOTE_RECORDS or {*TIERS} <= self._seen)
            if is_shown or table == "gtm_meta.publication":
                rows[table] = self._copy(table, f"select * from published.{table}")
        self._files.execute("create schema if not exists shared.gtm_meta")
        self._files.execute(
            "create table shared.gtm_meta.shared_with as select $1 as login, $2 as roles, $3 as scope,"
            " cast($4 as timestamptz) as shared_at",
            [self._sharing.login, ", ".join(self._sharing.roles), self._sharing.person.scope, at],
        )
        return rows

    def _may_read(self, table: str) -> bool:
        layer = table.split(".")[0].removeprefix("gtm_")
        known: dict[str, Layer] = {"core": "core", "mart": "mart", CERTIFIED: "certified", "meta": "meta"}
        return layer in known and any(
            self._access.right(role, known[layer]) is not Right.NONE for role in self._sharing.roles
        )

    def _find_whom_they_see(self) -> None:
        """Keep the users whose rows the person sees: of themselves, of all who report to them, or of regions."""
        person, known_as = self._sharing.person, self._sharing.person.user or self._sharing.login
        is_them = "lower(email) = lower($known_as) or user_id = $known_as"
        if person.scope == "region":
            query = "select user_key, user_id from {users} where list_contains($known_as, division)"
        elif person.scope == "team":
            query = (
                "with recursive team as ("
                f" select user_key, user_id from {{users}} where {is_them} union"
                " select users.user_key, users.user_id from {users} as users"
                " inner join team on users.manager_user_id = team.user_id) select * from team"
            )
        else:
            query = f"select user_key, user_id from {{users}} where {is_them}"
        self._files.execute("create table visible_user (user_key varchar, user_id varchar)")
        if person.scope == "all":
            return
        users = "published.gtm_core.dim_user"
        self._files.execute(
            f"insert into visible_user {query.format(users=users)}", {"known_as": [*person.regions] or known_as}
        )
        ((count,),) = self._files.execute("select count(*) from visible_user").fetchall()
        if not count:
            whom = ", ".join(person.regions) if person.scope == "region" else known_as
            raise AccessError(
                f"dim_user has no such person or division: {whom}. {self._sharing.login} would see no row. Name "
                "them in the access file by the email, id or division that dim_user has"
            )

    def _mask_and_filter(self) -> Iterator[str]:
        """Make a view of each table of core and mart, by the name that the table has, of what the person sees."""
        for layer in READ_BY_PEOPLE:
            self._files.execute(f"create schema gtm_{layer}")
        for table in sorted(self._tables, key=lambda table: (table != _OPPORTUNITIES, table)):
            if table.split(".")[0] not in [f"gtm_{layer}" for layer in READ_BY_PEOPLE]:
                continue
            what = self._described.get(table, Table("", {}))
            columns = columns_of(
                self._access,
                table,
                self._tables[table],
                what.tiers,
                "duckdb",
                lambda tier, value, masked: value if tier in self._seen else masked,
            )
            self._files.execute(
                f"create view {table} as select {', '.join(columns)} from published.{table} as held"
                f" where {self._condition(table, what.row_rule)}"
            )
            yield table

    def _condition(self, table: str, rule: str) -> str:
        if rule == EVERYONE or self._sharing.person.scope == "all":
            return "true"
        if rule == ALL:
            return "false"
        if rule == "opportunity_id":
            return f"opportunity_id in (select opportunity_id from {_OPPORTUNITIES})"
        if rule not in VISIBLE_BY:
            raise AccessError(
                f"{table} has no rule that says whose its rows are: give its model the meta row_rule"
            )
        return f"{rule} in (select {VISIBLE_BY[rule]} from visible_user)"

    def _copy(self, table: str, query: str | None = None) -> int:
        schema = table.split(".")[0]
        self._files.execute(f"create schema if not exists shared.{schema}")
        self._files.execute(f"create table shared.{table} as {query or f'select * from {table}'}")
        for statement in comments_on("table", f"shared.{table}", self._described.get(table)):
            self._files.execute(statement)
        ((count,),) = self._files.execute(f"select count(*) from shared.{table}").fetchall()
        return int(count)
