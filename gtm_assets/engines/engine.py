"""What the platform asks of the engine that a warehouse is built on, beside what dbt asks it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

import duckdb

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import GtmError, MayPass
from gtm_assets.lake.reader import LakeReader

Say = Callable[[str], None]
"""Hears a sentence for people."""


_SCHEMA = re.compile(r"\bgtm_(?P<layer>(published_)?(raw|staging|intermediate|core|mart|certified|meta))\b")


def named(query: str, prefix: str) -> str:
    """A query whose schemas, ``gtm_<layer>``, are called as those of an environment."""
    return _SCHEMA.sub(rf"{prefix}\g<layer>", query)


class EngineError(GtmError):
    """The engine can't be asked. The message says which, why, and what to do."""


class EngineAway(EngineError, MayPass):
    """The engine does not answer, which may pass."""


class Result(Protocol):
    """What a statement gave."""

    @property
    def description(self) -> Sequence[Any]:
        """A sequence per column, which begins with its name."""

    def fetchall(self) -> list[Any]:
        """All rows, as tuples."""


@dataclass(frozen=True)
class Rows:
    """A :class:`Result` whose rows are there already."""

    description: Sequence[Any]
    rows: list[Any]

    def fetchall(self) -> list[Any]:
        """All rows, as tuples."""
        return self.rows


class Connection(Protocol):
    """A connection to an engine, as far as a build needs one; DuckDB's own is one.

    Schemas are named as on DuckDB, ``gtm_<layer>``; parameters are written ``$1``.
    """

    def execute(self, query: str, parameters: Any = None, /) -> Result:
        """Execute a statement."""

    def close(self) -> None:
        """Close it."""

    def __enter__(self) -> Self:
        """The connection itself."""

    def __exit__(self, *_: Any) -> Any:
        """Close it."""


@dataclass(frozen=True)
class Content:
    """What tells a table from one that holds other rows or other columns. The order of rows does not count."""

    columns: Sequence[Any]
    """Names and types."""
    row_count: int
    sums: Sequence[Any]
    """Two sums of hashes of the rows."""


@dataclass(frozen=True)
class Table:
    """What the project says of a table."""

    description: str
    columns: Mapping[str, str]
    """Their descriptions."""
    key: str | None = None
    """A column that is tested to be unique and never null."""
    foreign_keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By column the ``schema.table`` and the column that it is tested to be found in."""
    tiers: Mapping[str, str] = field(default_factory=dict)
    """By column with personal data how closely it is guarded (dbt's meta ``pii``)."""
    row_rule: str = ""
    """Whose the rows are, by the meta ``row_rule``: a column that names an owner, ``everyone`` or ``all``."""
    query: str = ""
    """Of a certified dataset, what it selects from tables that are named ``gtm_<layer>.<table>``."""
    never_null: Sequence[str] = ()
    """Columns that are tested to be never null."""


@dataclass(frozen=True)
class Expired:
    """What was let go of."""

    snapshots: int
    files: int
    bytes: int


class Engine(ABC):
    """A warehouse on one engine.

    Methods with a body of nothing but their docstring are what an engine may have nothing to do for: they are no
    abstract ones on purpose, which ruff would doubt (B027).
    """

    name: str
    """As ``GTM_ENGINE`` names it."""
    libraries: tuple[str, ...]
    """The distributions that decide what its SQL means."""
    errors: tuple[type[Exception], ...]
    """What its driver raises."""
    views_stand: bool
    """Whether a view stays where a table that it reads is replaced."""
    views: Callable[[Any, Mapping[str, Table]], Any] | None = None
    """Makes, of a cursor and what the project says of its tables, the views through which people read what is
    published, where an engine's server keeps roles: they change with it."""
    exports = True
    """Whether the published file holds core and mart; what it says of itself it holds in any case."""

    def __init__(self, path: Path) -> None:
        """``path`` is the warehouse's file in the state folder; where the warehouse lies elsewhere, its copy's."""
        self.path = path

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the warehouse is, for people. Without a password."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether anything has been built.

        Raises:
            EngineError: the engine can't be asked.
        """

    @abstractmethod
    def dbt_environment(self) -> Mapping[str, str]:
        """What dbt's profile and macros ask the environment of this engine."""

    @property
    def parsed_for(self) -> Mapping[str, str]:
        """Its part that decides what relations are called, which dbt has to know as it parses. None on DuckDB."""
        return {}

    def examine(self) -> None:  # noqa: B027
        """Ask whether it can be built on.

        Raises:
            EngineError: it can't.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Make what has to be there before dbt connects.

        Raises:
            EngineError: the engine can't be built on.
        """

    def bring_lake(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:  # noqa: B027
        """Bring the lake's batches to where models read them, and forget those of other tables.

        Raises:
            LakeError: a file of the lake can't be read.
            EngineError: the engine refuses what a table holds. Nothing is changed then.
        """

    def follow_compaction(self, lake: LakeReader, tables: Sequence[RawTable]) -> None:  # noqa: B027
        """Enter merged files in the list of batches, of which checks read the paths; no batch comes or goes.

        dbt does so where it lists the lake itself.

        Raises:
            EngineError: the engine can't be asked.
        """

    @contextmanager
    def held(self, purpose: str, say: Say) -> Iterator[None]:
        """Keep other machines from building on this warehouse; ``say`` hears for whom we wait."""
        yield

    @abstractmethod
    def connect(self) -> Connection:
        """A connection of the engine's own, which sees what dbt has committed.

        Raises:
            EngineError: the engine can't be asked.
        """

    @abstractmethod
    def content_of(
        self, connection: Connection, database: str, schema: str, table: str, by: Sequence[str] = ()
    ) -> Content:
        """The content of a table; ``by`` names the columns that tell its rows apart, by default all."""

    @abstractmethod
    def stamp(self) -> Any:
        """What tells the warehouse from one that was written since, as JSON; None where that can't be told."""

    @abstractmethod
    def relations(self) -> set[tuple[str, str]] | None:
        """Schema, ``gtm_<layer>``, and name of each table and view; None where none goes unless dbt drops it."""

    def end_build(self) -> None:  # noqa: B027
        """Tidy up after a build that came to its end."""

    @abstractmethod
    def consumed(self) -> set[str]:
        """The batches that the warehouse was built from."""

    @abstractmethod
    def reading(
        self, contents: Mapping[str, str], whole: bool = False
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection of DuckDB to the tables, for checks and for publishing.

        ``contents`` says by a table's name what it holds, so that what was fetched for an earlier check is not
        fetched again. With ``whole`` all of core and mart are there for whoever copies the file.
        """

    def publish(self, said: Path, comments: Mapping[str, Table]) -> None:  # noqa: B027
        """Let the engine's readers see core and mart as they are now, in one transaction.

        ``said`` is the file about to be published, whose schema gtm_meta says of itself what it is; ``comments``
        holds what the project says of tables, by ``schema.table``. DuckDB's readers read that file.

        Raises:
            EngineError: they could not be. Readers see what they saw before.
        """

    def expire(self, before: datetime) -> Expired | None:  # noqa: B027
        """Let go of what tables were before an instant, where the engine keeps that, and of files nobody needs.

        What is published stays. The caller holds the warehouse's lock.

        Raises:
            EngineError: the engine can't be asked, or it is not sure which files nobody needs.
        """

    def forget(self) -> list[str]:
        """Drop what was made of the lake outside of the state folder, but not what people read; gives what it was.

        The next build begins from nothing. The caller holds the warehouse's lock.

        Raises:
            EngineError: the engine can't be asked.
        """
        return []

    def ready_dbt(self) -> None:  # noqa: B027
        """Set in this process what dbt's adapter has no setting for."""

    @abstractmethod
    def as_of(self, folder: Path) -> Engine:
        """A warehouse beside this one, of the same lake, for a build as of an earlier day."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the warehouse; of one that :meth:`as_of` gave."""
