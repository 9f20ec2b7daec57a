"""The views through which people read core and mart: personal data masked, rows filtered by who looks.

A view belongs to a role that nobody logs in as and that does not bypass row-level security. It alone may read the
tables; people hold rights on the views. So a table's policy decides for the view's owner, by the login of whoever
asks (``current_user``, which a view does not change), and the view masks what that login may not see. The views
are barriers: no condition of a query is tried on a row that its policy leaves out.

Source: PostgreSQL's documentation, Row Security Policies, Rules and Privileges, and ``create view``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adbc_driver_postgresql import dbapi

from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_publishing import Source
from gtm_assets.publishing.datasets import tables_in
from gtm_assets.serving.access_file import Access, AccessError, read
from gtm_assets.serving.audit_grants import AuditGrants
from gtm_assets.serving.masking import columns_of
from gtm_assets.serving.row_rules import ALL, CERTIFIED, EVERYONE, READ_BY_PEOPLE, VISIBLE_BY

_CHANGED = "changed"


class Names:
    """What is called how in an environment."""

    def __init__(self, prefix: str) -> None:
        """``prefix`` begins all names."""
        self.prefix = prefix
        self.access = f"{prefix}access"
        self.view_owner = f"{prefix}view_owner"
        self.auditor = f"{prefix}auditor"
        self.audit = f"{prefix}audit"
        self.meta = f"{prefix}meta"

    def published(self, layer: str) -> str:
        """The schema of the tables."""
        return f"{self.prefix}published_{layer}"

    def reader(self, layer: str) -> str:
        """The schema of the views."""
        return f"{self.prefix}reader_{layer}"

    def sees(self, tier: str) -> str:
        """The role of those to whom a tier of personal data is shown."""
        return f"{self.prefix}sees_{tier}"

    def role(self, name: str) -> str:
        """A role of the access file."""
        return f"{self.prefix}{name}"


def view_columns(names: Names, access: Access, source: Source) -> list[str]:
    """What the view of a table selects of it, which is called ``held``.

    Raises:
        AccessError: a column with personal data has no mask, or one for texts and is none.
    """
    table = f"{source.schema.removeprefix(f'{names.prefix}published_')}.{source.name}"
    return columns_of(
        access,
        table,
        source.columns,
        source.described.tiers,
        "postgres",
        lambda tier, value, masked: (
            f"case when (select pg_has_role({literal(names.sees(tier))}, 'usage')) then {value} else {masked} end"
        ),
    )


def policy_sql(names: Names, described: Table, table: str) -> str:
    """The condition of a table's policy: which rows the login sees that asks.

    Raises:
        AccessError: the table has no rule.
    """
    rule = described.row_rule
    sees_all = f"(select exists (select from {names.access}.user_scope where login = current_user and sees_all))"
    if rule == EVERYONE:
        return f"(select exists (select from {names.access}.user_scope where login = current_user))"
    if rule == ALL:
        return sees_all
    if rule == "opportunity_id":
        # The policy of that table decides for the view's owner here too.
        opportunities = f"select opportunity_id from {names.published('core')}.fct_opportunity"
        return f"{sees_all} or opportunity_id in ({opportunities})"
    if rule not in VISIBLE_BY:
        raise AccessError(f"{table} has no rule that says whose its rows are: give its model the meta row_rule")
    visible = f"select {VISIBLE_BY[rule]} from {names.access}.visible_user where login = current_user"
    return f"{sees_all} or {rule} in ({visible})"


class Secured:
    """The views and policies of a publication, within its transaction."""

    def __init__(self, cursor: dbapi.Cursor, names: Names, access: Access, described: Mapping[str, Table]) -> None:
        """``cursor`` is of the login that owns the tables, a member of the views' owner.

        ``described`` has the certified datasets among what the project says of its tables.
        """
        self._cursor, self._names, self._access, self._described = cursor, names, access, described

    def wanted(self, sources: Sequence[Source]) -> dict[str, tuple[list[str], str]]:
        """By view, as SQL names it, what it selects and its table's policy."""
        return {
            self.view_of(source): (
                view_columns(self._names, self._access, source),
                policy_sql(self._names, source.described, source.table),
            )
            for source in sources
            if self.is_read_by_people(source)
        }

    def datasets(self, sources: Sequence[Source]) -> dict[str, tuple[str, Table]]:
        """By certified dataset, as SQL names its view, what it selects from other views, and what it is."""
        there = {self.view_of(source) for source in sources if self.is_read_by_people(source)}
        found = {}
        for name, what in self._described.items():
            read = {table: self._view(*table.split(".")) for table in tables_in(what.query)}
            if read and there.issuperset(read.values()):
                query = what.query
                for table, view in read.items():
                    query = re.sub(rf"\b{re.escape(table)}\b", view, query)
                found[self._view(*name.split("."))] = (query, what)
        return found

    def is_read_by_people(self, source: Source) -> bool:
        """Whether a table has a view."""
        return source.schema in map(self._names.published, READ_BY_PEOPLE)

    def view_of(self, source: Source) -> str:
        """The view of a table, as SQL names it."""
        return self._view(source.schema, source.name)

    def _view(self, schema: str, name: str) -> str:
        return f'{self._names.reader(schema.rpartition("_")[2])}."{name}"'

    def changing(self, sources: Sequence[Source]) -> tuple[list[str], list[str]]:
        """The views that go or become others, and the tables under those that come or become others."""
        wanted, datasets, held = self.wanted(sources), self.datasets(sources), self._held()
        new = {view for view, what in wanted.items() if held.get(view) != _digest(*what)}
        tables = [source.table for source in sources if self.view_of(source) in new]
        own = self._names.reader(CERTIFIED)
        made = {view: digest for view, digest in held.items() if view.startswith(f"{own}.")}
        gone = [view for view in held if view not in made and (view in new or view not in wanted)]
        # Datasets read the other views, which can't go before them.
        stay = not gone and made == {view: _digest([query]) for view, (query, _) in datasets.items()}
        return [*([] if stay else made), *gone], tables

    def secure(self, sources: Sequence[Source]) -> None:
        """Let each table have its policy and its view, and each login the rows that are its own now.

        The views that become others have been dropped.
        """
        self._look_up_who_sees_whom()
        wanted, held, made = self.wanted(sources), self._held(), f"{self._names.access}.secured_view"
        tables = {self.view_of(source): source for source in sources if self.is_read_by_people(source)}
        datasets = self.datasets(sources)
        for view in held.keys() - wanted.keys() - datasets.keys():
            self._cursor.execute(f"delete from {made} where view_name = {literal(view)}")
        for view, (columns, policy) in wanted.items():
            if held.get(view) == _digest(columns, policy):
                continue
            table = tables[view].table
            self._set_policy(table, policy)
            query = f"select {', '.join(columns)} from {table} as held"
            self._make(view, table, query, tables[view].described, _digest(columns, policy))
        for view, (query, what) in datasets.items():
            if held.get(view) != _digest([query]):
                self._make(view, view, query, what, _digest([query]))
        AuditGrants(self._cursor, self._names, self._access).bring(sources)

    def _make(self, view: str, table: str, query: str, described: Table, digest: str) -> None:
        """Make a view, and keep what it was made from; ``table`` is the one whose policy filters it."""
        self._cursor.execute(f"set local role {self._names.view_owner}")
        self._cursor.execute(f"create view {view} with (security_barrier) as {query}")
        self._comment(view, described)
        self._cursor.execute("reset role")
        row = ", ".join(map(literal, (view, table, digest)))
        self._cursor.execute(
            f"insert into {self._names.access}.secured_view"
            f" values ({row}, {_as_it_is(literal(view), literal(table))})"
            " on conflict (view_name) do update set table_name = excluded.table_name,"
            " digest = excluded.digest, made = excluded.made"
        )

    def _set_policy(self, table: str, policy: str) -> None:
        """Let a table have one policy, which is for the views' owner, who alone may read it."""
        owner = self._names.view_owner
        self._cursor.execute(f"grant select on {table} to {owner}")
        self._cursor.execute(f"alter table {table} enable row level security")
        self._cursor.execute(f"select polname from pg_policy where polrelid = to_regclass({literal(table)})")
        for (name,) in self._cursor.fetchall():
            self._cursor.execute(f'drop policy "{name}" on {table}')
        self._cursor.execute(f"create policy people on {table} for select to {owner} using ({policy})")

    def troubles(self, sources: Sequence[Source]) -> Iterator[str]:
        """What of the views and policies of tables is not as it was made."""
        held = self._held()
        wanted = {view: _digest(*what) for view, what in self.wanted(sources).items()}
        wanted |= {view: _digest([query]) for view, (query, _) in self.datasets(sources).items()}
        for view, digest in wanted.items():
            if held.get(view) == _CHANGED:
                yield f"changed: {view} or the policy of its table is not as it was made"
            elif held.get(view) != digest:
                yield f"missing: {view} is not as the access file says"
        yield from AuditGrants(self._cursor, self._names, self._access).troubles(sources)

    def _held(self) -> dict[str, str]:
        """The digests by which views were made, or that they are not as they were made."""
        now = _as_it_is("view_name", "table_name")
        self._cursor.execute(
            f"select view_name, case when made = {now} then digest else {literal(_CHANGED)} end"
            f" from {self._names.access}.secured_view"
        )
        return dict(self._cursor.fetchall())

    def _comment(self, view: str, described: Table) -> None:
        self._cursor.execute(f"comment on view {view} is {literal(described.description)}")
        for column, text in described.columns.items():
            if text:
                self._cursor.execute(f'comment on column {view}."{column}" is {literal(text)}')

    def _look_up_who_sees_whom(self) -> None:
        """By login, whose rows it sees: of itself, of all who report to it at any depth, or of regions."""
        users = f"{self._names.published('core')}.dim_user"
        access = self._names.access
        self._cursor.execute(f"delete from {access}.visible_user")
        self._cursor.execute(
            f"insert into {access}.visible_user (login, user_key, user_id)"
            " with recursive team as ("
            " select scope.login, scope.sees_team, users.user_key, users.user_id"
            f" from {access}.user_scope as scope"
            f" inner join {users} as users on lower(users.email) = lower(scope.known_as)"
            " or users.user_id = scope.known_as"
            " union"
            f" select team.login, team.sees_team, users.user_key, users.user_id from {users} as users"
            " inner join team on users.manager_user_id = team.user_id and team.sees_team)"
            " select login, user_key, user_id from team"
            " union"
            f" select scope.login, users.user_key, users.user_id from {access}.user_scope as scope"
            f" inner join {users} as users on users.division = any (scope.regions)"
        )


def views_of(
    cursor: dbapi.Cursor, prefix: str, access: Path | None, described: Mapping[str, Table]
) -> Secured | None:
    """The views of an environment on a server, by its access file; None where no access file was ever enforced.

    Raises:
        AccessError: one was, and it can't be read now.
    """
    names = Names(prefix)
    cursor.execute(f"select to_regclass({literal(f'{names.access}.secured_view')}) is not null")
    [(is_secured,)] = cursor.fetchall()
    if not is_secured:
        return None
    if access is None:
        raise AccessError("who may read what is enforced on the server: name the access file in GTM_ACCESS_FILE")
    return Secured(cursor, names, read(access), described)


def _as_it_is(view: str, table: str) -> str:
    """The expression for a digest of a view, and of its table's policies, as the database has them now.

    ``view`` and ``table`` are expressions for their names.
    """
    return (
        "(select md5(concat_ws(';', pg_get_viewdef(pg_class.oid), pg_get_userbyid(relowner), reloptions::text,"
        " (select string_agg(concat_ws(',', polname, polroles::text, polcmd, polpermissive,"
        " pg_get_expr(polqual, polrelid)), ';' order by polname)"
        f" from pg_policy where polrelid = to_regclass({table})), (select secured.relrowsecurity::text"
        f" from pg_class as secured where secured.oid = to_regclass({table}))))"
        f" from pg_class where oid = to_regclass({view}))"
    )


def _digest(columns: Sequence[str], policy: str = "") -> str:
    """Of what a view was made from. The order of its columns does not count: the table may have another."""
    return hashlib.md5("; ".join([*sorted(columns), policy]).encode(), usedforsecurity=False).hexdigest()
