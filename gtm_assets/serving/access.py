"""What ``gtm access`` does, and the check that a server gives what the access file says and nothing more."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path

import dagster as dg
from adbc_driver_postgresql import dbapi

from gtm_assets import clock
from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_publishing import Published, Source
from gtm_assets.engines.postgres_raw import columns_query
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.finding import Finding
from gtm_assets.serving.access_file import Access, AccessError, Kind, file_at
from gtm_assets.serving.audit import Auditing
from gtm_assets.serving.credentials import credentials_are_rotated
from gtm_assets.serving.masking import refuse
from gtm_assets.serving.refusal import Refusals
from gtm_assets.serving.roles import Roles, members, privileges
from gtm_assets.serving.row_rules import READ_BY_PEOPLE, tiers_of
from gtm_assets.serving.securing import Names, Secured
from gtm_assets.settings import Settings

_SESSION = "gtm: access"
_SCRAM_ITERATIONS = 4096
"""Source: PostgreSQL's default, scram_iterations."""


class Enforcer:
    """An access file and the server on which it is in force."""

    def __init__(
        self, server: Server, admin: Server, prefix: str, file: Path, described: Mapping[str, Table]
    ) -> None:
        """``server`` is reached as the login that publishes, ``admin`` as one that may create roles.

        ``file`` is the access file, ``described`` what the project says of its tables.
        """
        self.server, self._admin, self._names = server, admin, Names(prefix)
        self._file, self._described = file, described

    @cached_property
    def access(self) -> Access:
        """The access file, which is read once.

        Raises:
            AccessError: it says what it can't.
        """
        return file_at(self._file)

    @property
    def is_in_force(self) -> bool:
        """Whether an access file was ever enforced on the server."""
        with self.server.transaction(_SESSION) as cursor:
            cursor.execute(f"select to_regclass({literal(f'{self._names.access}.secured_view')}) is not null")
            [(there,)] = cursor.fetchall()
        return bool(there)

    def apply(self) -> None:
        """Enforce the file.

        Raises:
            AccessError: the file can't be enforced. Nothing is changed then.
            EngineError: the server is away.
        """
        refuse(self.access, self._described)
        try:
            with self.server.transaction(_SESSION) as cursor:
                cursor.execute("select current_user")
                [(loader,)] = cursor.fetchall()
            with self._admin.transaction(_SESSION) as cursor:
                Refusals(cursor, self._names).end_those_of_earlier_months(clock.now())
                Roles(cursor, self._names, self._in_force(cursor), loader).apply()
                Auditing(cursor, self._names).prepare(loader)
            self.secure()
        except dbapi.Error as error:
            raise AccessError(
                f"{self.server.place} refused it ({in_one_line(error)}). The login needs the right to create "
                "roles, and schemas in the database: name one in GTM_SERVE_ADMIN_URL"
            ) from error

    def _in_force(self, cursor: dbapi.Cursor) -> Access:
        """The access file without the roles that are refused."""
        return self.access.without(Refusals(cursor, self._names).in_force())

    def refused(self) -> set[str]:
        """The roles that are refused."""
        with self.server.transaction(_SESSION) as cursor:
            return Refusals(cursor, self._names).in_force()

    def refusals_decided(self) -> set[str]:
        """The roles that were refused in this month, also those of which it was lifted."""
        with self.server.transaction(_SESSION) as cursor:
            return Refusals(cursor, self._names).decided(clock.now())

    def refuse_role(self, role: str) -> None:
        """Refuse a role until the month ends, or :meth:`lift`.

        Raises:
            AccessError: the login may not.
        """
        self._let_in(lambda refusals: refusals.refuse(role, clock.now()), role)

    def lift(self, role: str, by: str) -> None:
        """Let a role in again that is refused.

        Raises:
            AccessError: the file has no such role, it is not refused, or the login may not.
        """
        if role not in self.access.roles:
            raise AccessError(f"the access file has no role {role}: it has {', '.join(self.access.roles)}")
        refused = self.refused()
        if role not in refused:
            raise AccessError(f"{role} is not refused. Refused are: {', '.join(sorted(refused)) or 'none'}")
        self._let_in(lambda refusals: refusals.lift(role, clock.now(), by), role)

    def end_refusals(self) -> None:
        """Let in again who was refused in an earlier month."""
        with self.server.transaction(_SESSION) as cursor:
            refusals = Refusals(cursor, self._names)
            is_over = bool(refusals.in_force() - refusals.decided(clock.now()))
        if is_over:
            self._let_in(lambda refusals: refusals.end_those_of_earlier_months(clock.now()), "a role")

    def _let_in(self, change: Callable[[Refusals], object], role: str) -> None:
        try:
            with self.server.transaction(_SESSION) as cursor:
                cursor.execute("select current_user")
                [(loader,)] = cursor.fetchall()
            with self._admin.transaction(_SESSION) as cursor:
                change(Refusals(cursor, self._names))
                Roles(cursor, self._names, self._in_force(cursor), loader).let_in()
        except dbapi.Error as error:
            raise AccessError(
                f"{self.server.place} does not let us refuse or let in {role} ({in_one_line(error)}). Enforce the "
                "access file once, and name a login that may create roles in GTM_SERVE_ADMIN_URL: gtm access apply"
            ) from error

    def secure(self) -> None:
        """Make the views and policies of what is served already."""
        schemas = [self._names.published(layer) for layer in READ_BY_PEOPLE]
        with (
            closing(self.server.open(autocommit=False, name=_SESSION)) as connection,
            connection.cursor() as cursor,
        ):
            sources = list(self._sources(cursor))
            if sources:
                Published(connection, schemas, Secured(cursor, self._names, self.access, self._described)).cover(
                    sources
                )

    def _sources(self, cursor: dbapi.Cursor) -> Iterator[Source]:
        for name, table in sorted(self._described.items()):
            schema, model = name.split(".")
            layer = schema.removeprefix("gtm_")
            if layer not in READ_BY_PEOPLE:
                continue
            cursor.execute(columns_query(f'{self._names.published(layer)}."{model}"'))
            if columns := dict(cursor.fetchall()):
                yield Source(self._names.published(layer), model, columns, table, came=None)

    def rotate(self, login: str, password: str | None = None) -> str:
        """Give a login another password, which is returned and which the server never sees.

        Raises:
            AccessError: the file has no such login.
        """
        if login not in self.access.people:
            raise AccessError(
                f"the access file has no login {login}: it has {', '.join(self.access.people) or 'none'}"
            )
        password = password or secrets.token_urlsafe(24)
        with self._admin.transaction(_SESSION) as cursor:
            cursor.execute(f'alter role "{login}" password {literal(scram(password))}')
            cursor.execute(
                f"insert into {self._names.access}.credential values ({literal(login)}, now())"
                " on conflict (login) do update set rotated_at = excluded.rotated_at"
            )
        return password

    def credentials(self, allowed: Mapping[Kind, int]) -> Finding:
        """Whether credentials are younger than ``allowed``, in days."""
        if not self.is_in_force:
            return Finding(True, "No login was made yet.")
        with self.server.transaction(_SESSION) as cursor:
            return credentials_are_rotated(cursor, self._names, self.access, allowed, clock.now())

    def audited(self) -> Finding:
        """Whether reads of personal and financial data are logged."""
        columns = sum(map(len, tiers_of(self._described).values()))
        with self.server.transaction(_SESSION) as cursor:
            return Auditing(cursor, self._names).finding(columns, self.server.place)

    def check(self) -> Finding:
        """Whether the server gives what the file says, and nothing more."""
        if not self.is_in_force:
            return Finding(
                False,
                f"{self.server.place} has no roles yet: only its owner reads. Say who may read what in "
                f"{self._file}, and run: gtm access apply.",
                dg.AssetCheckSeverity.WARN,
            )
        try:
            with self.server.transaction(_SESSION) as cursor:
                troubles = list(self._troubles(cursor))
        except dbapi.Error as error:
            return Finding(False, f"The server can't be asked ({in_one_line(error)}). Run: gtm access apply.")
        if troubles:
            shown = "; ".join(troubles[:10]) + (" …" if len(troubles) > 10 else "")
            return Finding(False, f"{len(troubles):,} differences: {shown}. Run: gtm access apply.")
        refused = "".join(f" {role} is refused until the month ends." for role in sorted(self.refused()))
        return Finding(True, f"The server gives what the access file says, and nothing more.{refused}")

    def _troubles(self, cursor: dbapi.Cursor) -> Iterator[str]:
        names, access = self._names, self._in_force(cursor)
        cursor.execute("select current_user")
        [(loader,)] = cursor.fetchall()
        roles = Roles(cursor, names, access, loader)
        there = roles.schemas()
        own = {loader, names.view_owner, names.auditor}
        held = set(roles.held_privileges(there))
        wanted = {str(one) for one in privileges(names, access, there)}
        for one in sorted(held):
            who = one.split(" ")[0]
            if one not in wanted and who not in own:
                yield f"too much: {one}"
        empty = roles.empty_schemas(there)
        for one in sorted(wanted - held):
            if not any(one.endswith(f"tables of {schema}") for schema in empty):
                yield f"missing: {one}"
        for role, member in sorted(roles.held_members() - members(names, access, loader)):
            if not roles.stays(role, member):
                yield f"too much: {member} is a member of {role}"
        for role, member in sorted(members(names, access, loader) - roles.held_members()):
            yield f"missing: {member} is no member of {role}"
        yield from roles.powerful()
        yield from Secured(cursor, names, access, self._described).troubles(list(self._sources(cursor)))


def scram(password: str) -> str:
    """What the server keeps of a password, by which it proves that somebody knows it.

    Source: RFC 5802 and 7677, and PostgreSQL's documentation, pg_authid.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    stored = hashlib.sha256(client).digest()
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def enforcer_of(settings: Settings, described: Mapping[str, Table]) -> Enforcer:
    """The access file and the server that the settings name.

    Raises:
        AccessError: the file says what it can't.
    """
    server = Server(settings.serve_address, "GTM_SERVE_URL" if settings.serves else "GTM_WAREHOUSE_URL")
    admin = Server(settings.serve_admin_address, "GTM_SERVE_ADMIN_URL")
    return Enforcer(server, admin, settings.schema_prefix, settings.access_path, described)
