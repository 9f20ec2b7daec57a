"""Which reads PostgreSQL is to log: what a role is granted that nobody logs in as.

pgaudit logs each statement that needs a right which its auditor role has. So that role gets ``select`` on the
columns with personal or financial data of each view that people read, and on their tables for whoever reads around
the views.

Source: pgaudit's README, Object Audit Logging.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_publishing import Source
from gtm_assets.serving.access_file import Access
from gtm_assets.serving.row_rules import READ_BY_PEOPLE

if TYPE_CHECKING:
    from gtm_assets.serving.securing import Names

Grant = tuple[str, str]
"""A table or view, as SQL names it, and a column of it; of a table as a whole the column is empty."""


def audited_columns(access: Access, source: Source) -> list[str]:
    """The columns of a table with personal or financial data."""
    return [name for name in source.columns if name in source.described.tiers or access.is_financial(name)]


class AuditGrants:
    """What the auditor role is granted, within a transaction of the login that owns the tables."""

    def __init__(self, cursor: dbapi.Cursor, names: Names, access: Access) -> None:
        """The login is a member of the views' owner."""
        self._cursor, self._names, self._access = cursor, names, access

    def bring(self, sources: Sequence[Source]) -> None:
        """Grant what is to be logged, and revoke what is not."""
        if not self._is_there():
            return
        auditor = self._names.auditor
        wanted, held = self._wanted(sources), self._held()
        for relation, column in sorted(held - wanted):
            self._as_owner(relation, f"revoke select{_of(column)} on {relation} from {auditor}")
        for relation, column in sorted(wanted - held):
            self._as_owner(relation, f"grant select{_of(column)} on {relation} to {auditor}")

    def troubles(self, sources: Sequence[Source]) -> Iterator[str]:
        """Which reads are logged otherwise than they should be."""
        if not self._is_there():
            yield f"missing: the role {self._names.auditor}, by which reads are logged"
            return
        wanted, held = self._wanted(sources), self._held()
        for relation, column in sorted(held - wanted):
            yield f"too much: reads of {relation}{column and f'.{column}'} are logged"
        for relation, column in sorted(wanted - held):
            yield f"missing: reads of {relation}{column and f'.{column}'} are not logged"

    def _wanted(self, sources: Sequence[Source]) -> set[Grant]:
        wanted = set()
        for source in sources:
            layer = source.schema.removeprefix(f"{self._names.prefix}published_")
            columns = audited_columns(self._access, source) if layer in READ_BY_PEOPLE else []
            wanted |= {(f'{self._names.reader(layer)}."{source.name}"', column) for column in columns}
            if columns:
                wanted.add((source.table, ""))
        return wanted

    def _held(self) -> set[Grant]:
        names = self._names
        schemas = [of(layer) for layer in READ_BY_PEOPLE for of in (names.published, names.reader)]
        self._cursor.execute(
            "with rights as ("
            " select relnamespace, relname, '' as attname, aclexplode(relacl) as acl from pg_class"
            " union all select relnamespace, relname, attname, aclexplode(attacl) from pg_attribute"
            " inner join pg_class on attrelid = pg_class.oid where not attisdropped)"
            " select nspname || '.\"' || relname || '\"', cast(attname as text) from rights"
            " inner join pg_namespace on relnamespace = pg_namespace.oid"
            f" where (acl).grantee = cast({literal(names.auditor)} as regrole)"
            f" and (acl).privilege_type = 'SELECT' and nspname in ({', '.join(map(literal, schemas))})"
        )
        return {(relation, column) for relation, column in self._cursor.fetchall()}

    def _is_there(self) -> bool:
        self._cursor.execute(f"select to_regrole({literal(self._names.auditor)}) is not null")
        [(there,)] = self._cursor.fetchall()
        return bool(there)

    def _as_owner(self, relation: str, statement: str) -> None:
        is_view = relation.startswith(f"{self._names.prefix}reader_")
        if is_view:
            self._cursor.execute(f"set local role {self._names.view_owner}")
        self._cursor.execute(statement)
        if is_view:
            self._cursor.execute("reset role")


def _of(column: str) -> str:
    return column and f' ("{column}")'
