"""The tables that people read in PostgreSQL, changed row by row in one transaction.

A statement sees the rows that were committed when it began, in all tables that it reads, and no change of rows
makes a reader wait. So a publication changes rows: it deletes those that are gone, updates those that differ and
inserts those that are new. The tables stay, and with them what was granted on them and the views that read them.

Where a model's columns have changed, a column that has come is added first, in a transaction of its own: until the
rows are there it is null. A column that goes is dropped together with the change of the rows. Both need a lock
against readers, which is held for an instant.

Source: PostgreSQL's documentation, chapter Concurrency Control: Read Committed Isolation Level, Explicit Locking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from adbc_driver_postgresql import dbapi

from gtm_assets.engines.engine import EngineError, Table
from gtm_assets.engines.files import literal

LOCK_SECONDS = 0.5
"""For so long a lock is waited for at a time. Who comes to read the table waits behind us meanwhile."""
PAUSE_SECONDS = 1.0
"""Between two attempts to get a lock, in which readers go on."""
ATTEMPTS = 60
_LONGEST = 63
_NO_LOCK = "GTM01"
"""The code of the error by which the server says that all attempts were in vain."""
_NEXT = "__next"
"""The end of a column's name until it takes the place of one that has another type."""


@dataclass(frozen=True)
class Source:
    """A table to be published."""

    schema: str
    """The schema in which people read it."""
    name: str
    columns: Mapping[str, str]
    """Names and PostgreSQL's types, in their order."""
    described: Table
    came: str | None
    """What holds its rows, as SQL names it. None where people read them already."""
    gone: str | None = None
    """What holds the keys that are gone, where ``came`` holds only rows that are new or differ."""

    @property
    def table(self) -> str:
        """What people read, as SQL names it."""
        return _table(self.schema, self.name)


@dataclass
class _Held:
    """What people read before."""

    columns: dict[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True)
class Changed:
    """How many rows of what people read have changed."""

    table: str
    deleted: int
    updated: int
    inserted: int


class Views(Protocol):
    """The views over what is published, which change with it."""

    def changing(self, sources: Sequence[Source]) -> tuple[list[str], list[str]]:
        """The views that can't stay as they are, and the tables that need a lock against readers for it."""

    def secure(self, sources: Sequence[Source]) -> None:
        """Make those that are wanted."""


class Published:
    """The tables of schemas that people read. The connection is not to commit by itself."""

    def __init__(self, connection: dbapi.Connection, schemas: Sequence[str], views: Views | None = None) -> None:
        """``schemas`` need not exist yet."""
        self._connection, self._schemas, self._views = connection, schemas, views
        self._cursor = connection.cursor()

    def bring(self, sources: Sequence[Source]) -> list[Changed]:
        """Let the schemas hold these tables and no other; commit.

        Raises:
            EngineError: somebody reads a table whose columns change all the time. People see what they saw before.
            dbapi.Error: the database refuses something. People see what they saw before.
        """
        held = self._held()
        added = self._make_room(sources, held)
        try:
            changed = self._change(sources, held)
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            with suppress(dbapi.Error, EngineError):
                self._alter([(table, f'drop column "{column}"') for table, column in added])
                self._connection.commit()
            raise
        return changed

    def cover(self, sources: Sequence[Source]) -> None:
        """Change only the views over tables that are there; commit.

        Raises:
            EngineError: somebody reads one of them all the time.
            dbapi.Error: the database refuses something. Nothing is changed then.
        """
        assert self._views is not None
        try:
            views, tables = self._views.changing(sources)
            self._lock(tables, views)
            self._views.secure(sources)
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise

    def _make_room(
        self, sources: Sequence[Source], held: Mapping[tuple[str, str], _Held]
    ) -> list[tuple[str, str]]:
        """Let tables take the rows that come, and commit.

        Returns the columns that were added, with their tables.
        """
        added, changes = [], []
        for source in sources:
            before = held.get((source.schema, source.name))
            if before is None:
                continue
            wanted = {_held_as(name, source, before): type_ for name, type_ in source.columns.items()}
            new = {name: type_ for name, type_ in wanted.items() if name not in before.columns}
            added += [(source.table, name) for name in new]
            changes += [(source.table, f'add column "{name}" {type_}') for name, type_ in new.items()]
            if before.key is not None and before.key not in wanted:
                # It goes once the rows are written, which have no value for it.
                changes.append((source.table, f'drop constraint "{source.name}_pkey"'))
                changes.append((source.table, f'alter column "{before.key}" drop not null'))
        self._alter(changes)
        self._connection.commit()
        return added

    def _change(self, sources: Sequence[Source], held: Mapping[tuple[str, str], _Held]) -> list[Changed]:
        """Change rows, and then what needs a lock: nobody waits while rows are written."""
        for schema in self._schemas:
            self._cursor.execute(f"create schema if not exists {schema}")
        changed, altered = [], []
        for source in sources:
            before = held.get((source.schema, source.name))
            if before is None:
                changed.append(self._make(source))
            else:
                changed.append(self._change_rows(source, before))
                altered += [(source.table, change) for change in _changes_of_columns(source, before)]
        wanted = {(source.schema, source.name) for source in sources}
        gone = [_table(*table) for table in sorted(held.keys() - wanted)]
        # All locks at once: who waits for one table holds no other up.
        views, guarded = self._views.changing(sources) if self._views else ([], [])
        # A table that this transaction has made is seen by nobody yet.
        there = {_table(*table) for table in held}
        locked = [*(table for table, _ in altered), *gone, *(table for table in guarded if table in there)]
        self._lock(locked, views)
        self._alter(altered)
        for table in gone:
            self._cursor.execute(f"drop table {table}")
        for source in sources:
            self._comment(source.table, source.described)
        self._find_by(sources)
        if self._views:
            self._views.secure(sources)
        return changed

    def _make(self, source: Source) -> Changed:
        listed = ", ".join(f'"{name}" {type_}' for name, type_ in source.columns.items())
        self._cursor.execute(f"create table {source.table} ({listed})")
        inserted = self._count(f"insert into {source.table} table {source.came}")
        if source.described.key is not None:
            self._cursor.execute(f'alter table {source.table} add primary key ("{source.described.key}")')
        self._cursor.execute(f"analyze {source.table}")
        return Changed(f"{source.schema}.{source.name}", 0, 0, inserted)

    def _change_rows(self, source: Source, before: _Held) -> Changed:
        table, came, key = source.table, source.came, source.described.key
        if came is None:
            return Changed(f"{source.schema}.{source.name}", 0, 0, 0)
        held_as = [_held_as(name, source, before) for name in source.columns]
        ours = _listed(held_as)
        theirs = _listed(source.columns)
        if key is None or before.columns.get(key) != source.columns[key]:
            deleted, updated, inserted = self._rewrite(table, came, ours, theirs)
        else:
            same = f'held."{key}" = came."{key}"'
            here, there = _listed(held_as, "held."), _listed(source.columns, "came.")
            is_gone = (
                f"not exists (select from {came} as came where {same})"
                if source.gone is None
                else f"exists (select from {source.gone} as came where {same})"
            )
            deleted = self._count(f"delete from {table} as held where {is_gone}")
            updated = self._count(
                f"update {table} as held set ({ours}) = row({there}) from {came} as came"
                f" where {same} and row({here}) is distinct from row({there})"
            )
            inserted = self._count(
                f"insert into {table} ({ours}) select {there} from {came} as came"
                f" where not exists (select from {table} as held where {same})"
            )
        if deleted or updated or inserted:
            self._cursor.execute(f"analyze {table}")
        return Changed(f"{source.schema}.{source.name}", deleted, updated, inserted)

    def _rewrite(self, table: str, came: str, ours: str, theirs: str) -> tuple[int, int, int]:
        """Where no key tells the rows apart, they are all written when any differs."""
        here, there = f"select {ours} from {table}", f"select {theirs} from {came}"
        self._cursor.execute(f"select exists (({here} except all {there}) union all ({there} except all {here}))")
        [(differs,)] = self._cursor.fetchall()
        if not differs:
            return 0, 0, 0
        return self._count(f"delete from {table}"), 0, self._count(f"insert into {table} ({ours}) {there}")

    def _find_by(self, sources: Sequence[Source]) -> None:
        """Index foreign keys and days, and have the database hold that foreign keys are found.

        A foreign key is checked at the end of the transaction, in which its table comes before or after the other.
        """
        schemas = ", ".join(literal(schema) for schema in self._schemas)
        self._cursor.execute(
            f"select schemaname || '.' || indexname from pg_indexes where schemaname in ({schemas}) union all"
            " select nspname || '.' || conname from pg_constraint"
            " inner join pg_namespace on connamespace = pg_namespace.oid"
            f" where contype = 'f' and nspname in ({schemas})"
        )
        there = {name for (name,) in self._cursor.fetchall()}
        keys = {_of_models(source): source for source in sources if source.described.key is not None}
        for source in sources:
            foreign = {
                column: keys[table]
                for column, (table, field_) in source.described.foreign_keys.items()
                if table in keys and keys[table].described.key == field_ and column in source.columns
            }
            for column in source.columns:
                index = _name_of(source.name, column, "idx")
                is_day = source.columns[column] == "date" and column != source.described.key
                if (column in foreign or is_day) and f"{source.schema}.{index}" not in there:
                    self._cursor.execute(f'create index "{index}" on {source.table} ("{column}")')
            for column, other in foreign.items():
                name = _name_of(source.name, column, "fkey")
                if f"{source.schema}.{name}" not in there:
                    self._cursor.execute(
                        f'alter table {source.table} add constraint "{name}" foreign key ("{column}")'
                        f' references {other.table} ("{other.described.key}") deferrable initially deferred'
                    )

    # -- what needs a lock against readers -----------------------------------------------------------------------

    def _lock(self, tables: Sequence[str], views: Sequence[str] = ()) -> None:
        """Lock tables against readers, and drop views. While those of one are waited for, the others' go on."""
        if not tables and not views:
            return
        statements = [f"drop view if exists {view};" for view in views]
        if tables:
            listed = ", ".join(dict.fromkeys(tables))
            statements.append(f"lock table {listed} in access exclusive mode;")
        self._cursor.execute(f"set local lock_timeout = {round(LOCK_SECONDS * 1000)}")
        try:
            self._cursor.execute(
                f"do $$ begin for attempt in 1..{ATTEMPTS} loop begin {' '.join(statements)} return;"
                f" exception when lock_not_available then perform pg_sleep({PAUSE_SECONDS}); end; end loop;"
                f" raise exception 'no lock' using errcode = '{_NO_LOCK}'; end $$"
            )
        except dbapi.Error as error:
            if error.sqlstate != _NO_LOCK:
                raise
            self._connection.rollback()
            raise EngineError(
                f"not published: columns change, and {self._readers([*tables, *views])}, so that there was no "
                f"instant for it in {ATTEMPTS} attempts. Readers see what they saw before. Let it end, and run: "
                "gtm run"
            ) from error
        self._cursor.execute("set local lock_timeout to default")

    def _readers(self, tables: Sequence[str]) -> str:
        """Who reads tables, in words."""
        listed = ", ".join(f"cast({literal(table)} as regclass)" for table in tables)
        self._cursor.execute(
            "select distinct usename, pid, cast(cast(relation as regclass) as text) from pg_locks"
            f" inner join pg_stat_activity using (pid) where granted and relation in ({listed})"
            " and pid <> pg_backend_pid() order by usename, pid"
        )
        who = [f"{user} (process {pid}) reads {table}" for user, pid, table in self._cursor.fetchall()]
        return " and ".join(who) or "somebody reads them"

    def _alter(self, changes: Sequence[tuple[str, str]]) -> None:
        """Alter tables, each given with what changes."""
        self._lock([table for table, _ in changes])
        for table, change in changes:
            self._cursor.execute(f"alter table {table} {change}")

    # -- what is there -------------------------------------------------------------------------------------------

    def _held(self) -> dict[tuple[str, str], _Held]:
        schemas = ", ".join(literal(schema) for schema in self._schemas)
        self._cursor.execute(
            "select nspname, relname, attname, format_type(atttypid, atttypmod),"
            " coalesce(attnum = any(conkey), false)"
            " from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid"
            " inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped"
            " left join pg_constraint on conrelid = pg_class.oid and contype = 'p'"
            f" where relkind = 'r' and nspname in ({schemas}) order by nspname, relname, attnum"
        )
        held: dict[tuple[str, str], _Held] = {}
        for schema, name, column, type_, is_key in self._cursor.fetchall():
            table = held.setdefault((schema, name), _Held())
            table.columns[column] = type_
            if is_key:
                table.key = column
        return held

    def _comment(self, table: str, described: Table) -> None:
        """Say what a table and its columns are, where it is not said yet."""
        oid = f"cast({literal(table)} as regclass)"
        self._cursor.execute(
            "select attname, coalesce(col_description(attrelid, attnum), '') from pg_attribute"
            f" where attrelid = {oid} and attnum > 0 and not attisdropped"
            f" union all select null, coalesce(obj_description({oid}, 'pg_class'), '')"
        )
        for column, said in self._cursor.fetchall():
            text = described.description if column is None else described.columns.get(column, "")
            if text != said:
                what = f"table {table}" if column is None else f'column {table}."{column}"'
                self._cursor.execute(f"comment on {what} is {literal(text)}")

    def _count(self, statement: str) -> int:
        self._cursor.execute(statement)
        return max(int(self._cursor.rowcount), 0)


def _table(schema: str, name: str) -> str:
    return f'{schema}."{name}"'


def _name_of(table: str, column: str, kind: str) -> str:
    """The name of an index or a constraint; PostgreSQL's names have 63 bytes at most."""
    name = f"{table}_{column}_{kind}"
    short = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:8]
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9 - len(kind)]}{short}_{kind}"


def _of_models(source: Source) -> str:
    """A table as the project names it, whatever the prefix of its schema."""
    return f"gtm_{source.schema.rpartition('_')[2]}.{source.name}"


def _listed(columns: Sequence[str] | Mapping[str, str], of: str = "") -> str:
    return ", ".join(f'{of}"{name}"' for name in columns)


def _held_as(name: str, source: Source, before: _Held) -> str:
    """The column of what people read that takes a column's values: beside one that has another type, a new one."""
    return name if before.columns.get(name, source.columns[name]) == source.columns[name] else f"{name}{_NEXT}"


def _changes_of_columns(source: Source, before: _Held) -> list[str]:
    """What has to be altered in a table once its rows are written."""
    key = source.described.key
    wanted = [_held_as(name, source, before) for name in source.columns]
    changes = [f'drop column "{name}"' for name in before.columns if name not in wanted]
    changes += [
        f'rename column "{held_as}" to "{name}"'
        for name, held_as in zip(source.columns, wanted, strict=True)
        if name != held_as
    ]
    if before.key is not None and before.key in wanted and before.key != key:
        changes.append(f'drop constraint "{source.name}_pkey"')
    if key is not None and (before.key != key or key not in wanted):
        changes.append(f'add primary key ("{key}")')
    return changes
