"""The access file enforced on a server: roles, logins, what they may read, how long and how often.

Everything is one transaction of a login that may create roles: half of it is never in force. What it makes is
marked by a comment, so that a login of somebody else's is never taken over, and one that is gone from the file
loses all its rights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.serving.access_file import LAYERS, TIERS, Access, AccessError, Layer, Person, Right
from gtm_assets.serving.row_rules import CERTIFIED, READ_BY_PEOPLE
from gtm_assets.serving.securing import Names

LOCK_SECONDS = 600
"""For so long a statement of a person's waits for a lock."""


@dataclass(frozen=True)
class Privilege:
    """A right that a role has on a schema, or on all tables and views of a schema."""

    role: str
    schema: str
    privilege: str
    on_tables: bool

    def __str__(self) -> str:
        """In words."""
        return f"{self.role} {self.privilege} on {'tables of ' if self.on_tables else ''}{self.schema}"


def readable(names: Names, layer: Layer) -> str:
    """The schema in which a layer is read: core, mart and certified through views."""
    if layer in (*READ_BY_PEOPLE, CERTIFIED):
        return names.reader(layer)
    return names.published("meta") if layer == "meta" else f"{names.prefix}{layer}"


def privileges(names: Names, access: Access, there: set[str]) -> set[Privilege]:
    """What the access file gives its roles in the schemas that are there."""
    wanted = set()
    for name in access.roles:
        role = names.role(name)
        for layer in LAYERS:
            right = access.right(name, layer)
            if right is Right.NONE:
                continue
            # Who may write a layer may also read it as everybody does.
            if (schema := readable(names, layer)) in there:
                wanted |= {Privilege(role, schema, "usage", False), Privilege(role, schema, "select", True)}
            if right is Right.WRITE and (schema := f"{names.prefix}{layer}") in there:
                wanted |= {Privilege(role, schema, one, False) for one in ("usage", "create")}
                wanted |= {Privilege(role, schema, one, True) for one in ("select", "insert", "update", "delete")}
    return wanted


def members(names: Names, access: Access, loader: str) -> set[tuple[str, str]]:
    """Which roles have which members by the access file: role and member."""
    wanted = {(names.view_owner, loader)}
    wanted |= {(names.sees(tier), names.role(name)) for name, role in access.roles.items() for tier in role.sees}
    wanted |= {(names.role(role), login) for login, person in access.people.items() for role in person.roles}
    return wanted


class Roles:
    """Enforces an access file, within a transaction."""

    def __init__(self, cursor: dbapi.Cursor, names: Names, access: Access, loader: str) -> None:
        """``loader`` is the login that publishes; ``cursor`` is of one that may create roles."""
        self._cursor, self._names, self._access, self._loader = cursor, names, access, loader
        self._mark = f"made by gtm access apply for {names.prefix}"

    def apply(self) -> None:
        """Enforce the file.

        Raises:
            AccessError: a login of the file is somebody else's, or somebody is not in dim_user.
        """
        names = self._names
        existing, powerful = self._roles(), {*self._powerful()}
        groups = [names.view_owner, names.auditor, *map(names.sees, TIERS), *map(names.role, self._access.roles)]
        for role in groups:
            self._ensure(role, existing, powerful, "nologin")
        for login in self._access.people:
            self._ensure(login, existing, powerful, "login")
        for role, is_ours in existing.items():
            if is_ours and role not in groups and role not in self._access.people:
                self._execute(f'alter role "{role}" nologin connection limit 0')
        self._make_schemas()
        self._set_privileges()
        self.let_in()
        self._set_scopes()

    def let_in(self) -> None:
        """Give each login its roles, and take away those that it does not have."""
        self._set_members()
        for login, person in self._access.people.items():
            self._limit(login, person)

    # -- roles ---------------------------------------------------------------------------------------------------

    def _roles(self) -> dict[str, bool]:
        """The server's roles, and whether we made them."""
        self._cursor.execute(
            "select rolname, coalesce(shobj_description(oid, 'pg_authid') = "
            f"{literal(self._mark)}, false) from pg_roles"
        )
        return dict(self._cursor.fetchall())

    def _ensure(self, role: str, existing: Mapping[str, bool], powerful: set[str], login: str) -> None:
        if role in existing and not existing[role]:
            raise AccessError(
                f"the server has a role {role} that this file did not make. Call it otherwise in the access file, "
                "or drop it on the server, and run: gtm access apply"
            )
        if role not in existing:
            self._execute(f'create role "{role}"')
            self._execute(f'comment on role "{role}" is {literal(self._mark)}')
        # A new role has none of these, and only who has an attribute may even name it.
        weak = "nosuperuser nocreatedb nocreaterole noreplication nobypassrls" if role in powerful else ""
        self._execute(f'alter role "{role}" {login} inherit {weak}')

    def _set_members(self) -> None:
        wanted, held = members(self._names, self._access, self._loader), self.held_members()
        for role, member in held - wanted:
            if not self.stays(role, member):
                self._execute(f'revoke "{role}" from "{member}"')
        for role, member in wanted - held:
            self._execute(f'grant "{role}" to "{member}"')

    def stays(self, role: str, member: str) -> bool:
        """Whether somebody stays a member of a role that the file does not give.

        Who makes something for a role is a member of it, and what is logged is what the role may read that pgaudit
        asks for, or a role that it has.
        """
        condition = {
            self._names.view_owner: f"exists (select from pg_roles where rolname = {literal(member)}"
            " and (rolsuper or rolcreaterole))",
            self._names.auditor: f"current_setting('pgaudit.role', true) = {literal(member)}",
        }.get(role, "false")
        self._cursor.execute(f"select coalesce({condition}, false)")
        [(stays,)] = self._cursor.fetchall()
        return bool(stays)

    def held_members(self) -> set[tuple[str, str]]:
        """The members of the roles that we made: role and member."""
        self._cursor.execute(
            "select roles.rolname, members.rolname from pg_auth_members"
            " inner join pg_roles as roles on roleid = roles.oid"
            " inner join pg_roles as members on member = members.oid"
            f" where shobj_description(roles.oid, 'pg_authid') = {literal(self._mark)}"
        )
        return {(role, member) for role, member in self._cursor.fetchall()}

    def powerful(self) -> Iterator[str]:
        """The roles of ours that may do what no reader may, in words."""
        for role in self._powerful():
            yield f"too much: {role} may pass by policies or make roles or databases"

    def _powerful(self) -> Sequence[str]:
        self._cursor.execute(
            "select rolname from pg_roles where (rolsuper or rolcreaterole or rolcreatedb or rolbypassrls"
            f" or rolreplication) and shobj_description(oid, 'pg_authid') = {literal(self._mark)} order by 1"
        )
        return [role for (role,) in self._cursor.fetchall()]

    def _limit(self, login: str, person: Person) -> None:
        roles = [self._access.roles[name] for name in person.roles]
        seconds = [role.statement_seconds for role in roles]
        sessions = [role.connections for role in roles]
        # The most generous of several roles counts. Whoever has only roles that are refused may not come in.
        timeout = 0 if None in seconds else max(filter(None, seconds), default=0)
        limit = -1 if None in sessions else max(filter(None, sessions), default=0)
        self._execute(f'alter role "{login}" connection limit {limit}')
        self._execute(f"alter role \"{login}\" set statement_timeout = '{timeout}s'")
        self._execute(f"alter role \"{login}\" set lock_timeout = '{LOCK_SECONDS}s'")
        if any(role.own_schema for role in roles):
            # Who makes something for a role has to be a member of it, meanwhile.
            self._execute(f'grant "{login}" to current_user')
            self._execute(f'create schema if not exists "{login}" authorization "{login}"')
            self._execute(f'revoke "{login}" from current_user')

    # -- schemas and rights --------------------------------------------------------------------------------------

    def _make_schemas(self) -> None:
        names = self._names
        # Who makes something for a role has to be a member of it.
        self._execute(f'grant "{names.view_owner}" to current_user')
        self._execute(f'grant "{names.view_owner}" to "{self._loader}"')
        for schema in (names.access, *map(names.reader, (*READ_BY_PEOPLE, CERTIFIED))):
            self._execute(f'create schema if not exists {schema} authorization "{names.view_owner}"')
        for layer in (*READ_BY_PEOPLE, "meta"):
            self._execute(f'create schema if not exists {names.published(layer)} authorization "{self._loader}"')
            self._execute(f'grant usage on schema {names.published(layer)} to "{names.view_owner}"')
        for schema in (names.audit, names.meta):
            self._execute(f'create schema if not exists {schema} authorization "{self._loader}"')
        self._execute(f'set local role "{names.view_owner}"')
        for table, columns in {
            "user_scope": "login name primary key, sees_all boolean not null, sees_team boolean not null,"
            " known_as text, regions text[] not null",
            "visible_user": "login name, user_key text, user_id text",
            "secured_view": "view_name text primary key, table_name text not null, digest text not null,"
            " made text not null",
            "credential": "login name primary key, rotated_at timestamptz not null",
            "refused_role": "role name, month date, refused_at timestamptz not null, lifted_at timestamptz,"
            " lifted_by text, primary key (role, month)",
        }.items():
            self._execute(f"create table if not exists {names.access}.{table} ({columns})")
        self._execute(f"create index if not exists visible_user_login on {names.access}.visible_user (login)")
        self._execute("reset role")

    def _set_privileges(self) -> None:
        """Take away all rights in our schemas that the file does not give, and give those that it does."""
        names = self._names
        there = self.schemas()
        roles = [names.role(name) for name in self._access.roles]
        wanted = privileges(names, self._access, there)
        for schema in sorted(there):
            for role in (*roles, *self._access.people, "public"):
                who = role if role == "public" else f'"{role}"'
                self._execute(f"revoke all on schema {schema} from {who}")
                self._execute(f"revoke all on all tables in schema {schema} from {who}")
            owner = self._owner(schema)
            for role in roles:
                self._execute(
                    f'alter default privileges for role "{owner}" in schema {schema}'
                    f' revoke all on tables from "{role}"'
                )
        for one in sorted(wanted, key=str):
            if not one.on_tables:
                self._execute(f'grant {one.privilege} on schema {one.schema} to "{one.role}"')
                continue
            self._execute(f'grant {one.privilege} on all tables in schema {one.schema} to "{one.role}"')
            self._execute(
                f'alter default privileges for role "{self._owner(one.schema)}" in schema {one.schema}'
                f' grant {one.privilege} on tables to "{one.role}"'
            )

    def schemas(self) -> set[str]:
        """The schemas of ours that are there."""
        names = self._names
        known = {f"{names.prefix}{layer}" for layer in LAYERS}
        known |= {names.published(layer) for layer in (*READ_BY_PEOPLE, "meta")}
        known |= {names.reader(layer) for layer in (*READ_BY_PEOPLE, CERTIFIED)} | {names.access}
        self._cursor.execute("select nspname from pg_namespace")
        return known & {schema for (schema,) in self._cursor.fetchall()}

    def held_privileges(self, schemas: set[str]) -> Iterator[str]:
        """The rights that roles beside the owners have in schemas, in the words of :class:`Privilege`.

        A right counts for the tables of a schema where all of them give it; one that some of them give is named
        with the table.
        """
        listed = ", ".join(map(literal, sorted(schemas))) or "null"
        self._cursor.execute(
            "with rights as (select nspname, nspowner as owner, null as relname, aclexplode(nspacl) as acl"
            f" from pg_namespace where nspname in ({listed})"
            " union all select nspname, relowner, relname, aclexplode(relacl) from pg_class"
            " inner join pg_namespace on relnamespace = pg_namespace.oid"
            f" where relkind in ('r', 'v', 'm', 'p') and nspname in ({listed})"
            " union all select nspname, relowner, relname || '.' || attname, aclexplode(attacl) from pg_attribute"
            " inner join pg_class on attrelid = pg_class.oid"
            " inner join pg_namespace on relnamespace = pg_namespace.oid"
            f" where nspname in ({listed}))"
            " select case (acl).grantee when 0 then 'public' else pg_get_userbyid((acl).grantee) end,"
            " nspname, lower((acl).privilege_type), relname from rights where (acl).grantee <> owner"
        )
        on_tables: dict[tuple[str, str, str], set[str]] = {}
        for role, schema, privilege, table in self._cursor.fetchall():
            if table is None:
                yield str(Privilege(role, schema, privilege, False))
            else:
                on_tables.setdefault((role, schema, privilege), set()).add(table)
        tables = self._tables(schemas)
        for (role, schema, privilege), some in on_tables.items():
            if some == tables.get(schema, set()):
                yield str(Privilege(role, schema, privilege, True))
            else:
                yield from (f"{role} {privilege} on {schema}.{table}" for table in sorted(some))

    def empty_schemas(self, schemas: set[str]) -> set[str]:
        """The schemas without tables and views."""
        return schemas - self._tables(schemas).keys()

    def _tables(self, schemas: set[str]) -> dict[str, set[str]]:
        listed = ", ".join(map(literal, sorted(schemas))) or "null"
        self._cursor.execute(
            "select nspname, relname from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid"
            f" where relkind in ('r', 'v', 'm', 'p') and nspname in ({listed})"
        )
        tables: dict[str, set[str]] = {}
        for schema, table in self._cursor.fetchall():
            tables.setdefault(schema, set()).add(table)
        return tables

    def _owner(self, schema: str) -> str:
        self._cursor.execute(
            f"select cast(nspowner as regrole)::text from pg_namespace where nspname = {literal(schema)}"
        )
        [(owner,)] = self._cursor.fetchall()
        return str(owner).strip('"')

    # -- whose rows ----------------------------------------------------------------------------------------------

    def _set_scopes(self) -> None:
        access = self._names.access
        self._execute(f"delete from {access}.user_scope")
        for login, row in self._scopes():
            self._execute(f"insert into {access}.user_scope values ({literal(login)}, {row})")
        self._refuse_unknown()

    def _scopes(self) -> Iterator[tuple[str, str]]:
        for login, person in self._access.people.items():
            regions = ", ".join(map(literal, person.regions))
            user = literal(person.user or login) if person.scope in ("own", "team") else "null"
            yield (
                login,
                f"{person.scope == 'all'}, {person.scope == 'team'}, {user}, cast(array[{regions}] as text[])",
            )

    def _refuse_unknown(self) -> None:
        """Refuse a person who is not in dim_user, and a region that nobody has; where anything is served yet."""
        users, access = f"{self._names.published('core')}.dim_user", self._names.access
        self._cursor.execute(f"select to_regclass({literal(users)}) is not null")
        [(there,)] = self._cursor.fetchall()
        if not there:
            return
        self._cursor.execute(
            f"select login || ' (' || known_as || ')' from {access}.user_scope where known_as is not null"
            f" and not exists (select from {users} as users where lower(users.email) = lower(known_as)"
            " or users.user_id = known_as)"
            f" union all select login || ' (' || region || ')' from {access}.user_scope, unnest(regions) as region"
            f" where not exists (select from {users} as users where users.division = region) order by 1"
        )
        unknown = [one for (one,) in self._cursor.fetchall()]
        if unknown:
            raise AccessError(
                f"dim_user has no such person or division: {', '.join(unknown)}. They would see no row. Name them "
                "in the access file by the email, id or division that dim_user has, and run: gtm access apply"
            )

    def _execute(self, statement: str) -> None:
        self._cursor.execute(statement)
