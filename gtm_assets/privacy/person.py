"""Who a person is: the records by which the lake knows them, what identifies them, and what may name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from gtm_assets import place
from gtm_assets.catalog.raw_table import Column, Identifies, Link, RawTable
from gtm_assets.lake.coerce import as_text
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.lake.erased import (
    ADDRESS,
    EMAIL,
    addresses_in,
    addresses_of,
    cell_kind,
    normalised,
    person_kind,
    texts_kind,
)
from gtm_assets.lake.files import by_file
from gtm_assets.lake.quarantine import from_json
from gtm_assets.lake.rewriting import pages_of
from gtm_assets.lake.store import Lake
from gtm_assets.privacy.search import Wanted

_SHORTEST = 6
"""Characters of a name or number that is looked for: shorter ones stand in other texts by chance."""


@dataclass
class Person:
    """What the lake knows of a person."""

    kinds: dict[str, set[str]] = field(default_factory=dict)
    """Ids and addresses in clear, by kind of :mod:`~gtm_assets.lake.erased`."""
    values: set[str] = field(default_factory=set)
    """Addresses, telephone numbers and whole names that nobody else has: what a search looks for."""

    def add(self, kind: str, value: str) -> bool:
        """Take an id or an address; whether it is new."""
        there = self.kinds.setdefault(kind, set())
        is_new = value not in there
        there.add(value)
        return is_new

    def has(self, kind: str, value: str | None) -> bool:
        """Whether an id or an address is the person's."""
        return value in self.kinds.get(kind, ())

    @property
    def records(self) -> int:
        """How many records the person is."""
        return sum(len(ids) for kind, ids in self.kinds.items() if kind.startswith("person "))


Pages = Callable[[RawTable], Iterator[pl.DataFrame]]
"""The rows of a raw table, some at a time."""


def of_lake(lake: Lake) -> Pages:
    """The rows that have landed, and those that wait in quarantine."""

    def pages(table: RawTable) -> Iterator[pl.DataFrame]:
        for path in by_file(lake.batches(table)):
            yield from pages_of(path)
        for path in lake.quarantine(table).files():
            waiting = from_json(pl.read_parquet(place.opened(path))["record"])
            if table.id_column in waiting.columns:
                yield waiting

    return pages


class Finder:
    """Finds a person in raw tables. Memory holds, of each version, what says who it is or whom it is about."""

    def __init__(self, pages: Pages, tables: Sequence[RawTable]) -> None:
        """``tables`` are all that may hold people or name them."""
        self._pages, self._tables = pages, tables
        self._cache: dict[RawTable, pl.DataFrame] = {}

    def find(self, emails: Iterable[str] = (), ids: Iterable[str] = ()) -> Person:
        """The person of an address, or of a record's id: what is found by either is one person.

        A record that is found by its address gives no further ones: two people may share what a third once had.

        Raises:
            LakeError: a file can't be read.
        """
        person, ids = Person(), set(ids)
        given = {normalised(email) for email in emails}
        for email in given:
            person.add(EMAIL, email)
        for table in self._people:
            for record in self._records(table):
                id_ = record[table.id_column]
                if id_ is not None and id_ in ids:
                    person.add(person_kind(table.source, table.name), id_)
                    for column in _with(table, Identifies.EMAIL):
                        for address in _addresses(record[column.name]):
                            person.add(EMAIL, address)
        while self._extend(person):
            pass
        self._take_values(person)
        self._take_texts(person)
        return person

    # -- records -------------------------------------------------------------------------------------------------

    @cached_property
    def _people(self) -> list[RawTable]:
        return [table for table in self._tables if table.holds_people]

    def _extend(self, person: Person) -> bool:
        """Add the records that are the same person as those found so far; whether there were any."""
        found = False
        for table in self._people:
            own = person_kind(table.source, table.name)
            for record in self._records(table):
                id_ = record[table.id_column]
                same = [
                    (person_kind(table.source, name), other)
                    for column, names in _linking(table, Link.SAME)
                    if (other := record[column]) is not None
                    for name in names
                ]
                is_theirs = (
                    person.has(own, id_)
                    or any(person.has(*other) for other in same)
                    or any(
                        person.has(EMAIL, address)
                        for column in _with(table, Identifies.EMAIL)
                        for address in _addresses(record[column.name])
                    )
                )
                if is_theirs and id_ is not None:
                    found |= person.add(own, id_)
                    for kind, other in same:
                        found |= person.add(kind, other)
        for table, column in self._keyed:
            for record in self._records(table):
                text = record[column.name]
                if text and any(person.has(EMAIL, address) for address in addresses_in(text)):
                    for kind, id_ in _about(table, record):
                        found |= person.add(kind, id_)
        return found

    @cached_property
    def _keyed(self) -> list[tuple[RawTable, Column]]:
        """The columns that hold personal data in some rows alone, such as a history of fields."""
        return [(table, c) for table in self._tables for c in table.columns if c.personal_where]

    # -- values --------------------------------------------------------------------------------------------------

    def _take_values(self, person: Person) -> None:
        """What identifies the person and nobody else."""
        theirs: dict[str, set[Identifies]] = {}
        others: dict[str, set[Identifies]] = {}
        for table in self._people:
            own = person_kind(table.source, table.name)
            for record in self._records(table):
                for column in table.columns:
                    if column.identifies in (Identifies.NAME, Identifies.EMAIL, Identifies.PHONE):
                        is_theirs = person.has(own, record[table.id_column])
                        _take(record[column.name], column.identifies, theirs if is_theirs else others)
        for table, column in self._keyed:
            assert column.personal_where
            key, beginning = column.personal_where
            for record in self._records(table):
                if (record[key] or "").startswith(beginning):
                    is_theirs = any(person.has(*about) for about in _about(table, record))
                    _take(record[column.name], None, theirs if is_theirs else others)
        known = person.kinds.get(EMAIL, set())
        alone = {value: kinds for value, kinds in theirs.items() if value in known or value not in others}
        for value, kinds in alone.items():
            if Identifies.EMAIL in kinds and value not in known:
                person.add(ADDRESS, value)
        person.values |= {value for value, kinds in alone.items() if _is_distinctive(value, kinds)}
        person.values |= {address for address in known if "@" in address}

    # -- texts ---------------------------------------------------------------------------------------------------

    def _take_texts(self, person: Person) -> None:
        """The records and fields that may name the person, where a reference alone does not say it."""
        chained = {
            (table.source, name)
            for table in self._tables
            for _, names in _linking(table, Link.ABOUT)
            for name in names
        }
        names = sorted(person.values)
        for table in self._tables:
            own, texts = person_kind(table.source, table.name), texts_kind(table.source, table.name)
            for record in self._records(table):
                id_ = record[table.id_column]
                is_about = any(person.has(*about) for about in _about(table, record))
                if is_about and id_ is not None and (table.source, table.name) in chained:
                    person.add(texts, id_)
                if is_about or person.has(own, id_):
                    self._take_named_in(person, table, record)
            for name, ids in self._naming(table, names):
                for id_ in ids:
                    if not person.has(own, id_):
                        person.add(cell_kind(table, name), id_)

    def _take_named_in(self, person: Person, table: RawTable, record: Mapping[str, str | None]) -> None:
        """The records that a record of the person's, or about them, says may name them."""
        for column, names in _linking(table, Link.NAMED_IN):
            if (other := record[column]) is not None:
                for name in names:
                    person.add(texts_kind(table.source, name), other)

    def _naming(self, table: RawTable, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """The columns of a table in which one of some names stands, each with the records' ids."""
        if not names:
            return
        wanted = Wanted(names)
        for page in self._pages(table):
            for name in page.columns:
                if name in (table.id_column, *LOADER_COLUMNS) or page[name].dtype != pl.String:
                    continue
                texts = page[name].drop_nulls().unique()
                likely = texts.filter(texts.str.to_lowercase().str.contains_any(list(names)))
                hit = [text for text in likely.to_list() if wanted.in_text(text)]
                if hit:
                    rows = page[name].is_in(pl.Series(hit, dtype=pl.String).implode()).fill_null(False)
                    yield name, as_text(page[table.id_column].filter(rows)).drop_nulls().unique().to_list()

    # -- reading -------------------------------------------------------------------------------------------------

    def _records(self, table: RawTable) -> Iterator[Mapping[str, str | None]]:
        """What of each version of a table says who it is or whom it is about, each once, as text."""
        if table not in self._cache:
            self._cache[table] = self._narrow(table)
        yield from self._cache[table].iter_rows(named=True)

    def _narrow(self, table: RawTable) -> pl.DataFrame:
        told = [c.name for c in table.columns if c.identifies or c.refers or c.personal_where]
        told += [c.personal_where[0] for c in table.columns if c.personal_where]
        names = list(dict.fromkeys([table.id_column, *told]))
        some = [pl.DataFrame(schema=dict.fromkeys(names, pl.String))]
        for page in self._pages(table) if told else ():
            there = [name for name in names if name in page.columns]
            some.append(page.select(as_text(page[name]) for name in there).unique())
        return pl.concat(some, how="diagonal").unique(maintain_order=True)


def _with(table: RawTable, identifies: Identifies) -> list[Column]:
    return [column for column in table.columns if column.identifies is identifies]


def _linking(table: RawTable, link: Link) -> list[tuple[str, tuple[str, ...]]]:
    """The columns of a table that refer so to others, each with the names of these."""
    return [(c.name, c.refers.tables) for c in table.columns if c.refers and c.refers.link is link]


def _addresses(text: str | None) -> set[str]:
    return addresses_of(text) if text else set()


def _about(table: RawTable, record: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """The ids of those whom a record is about, by kind."""
    for column, names in _linking(table, Link.ABOUT):
        if (id_ := record[column]) is not None:
            for name in names:
                yield person_kind(table.source, name), id_


def _take(value: str | None, kind: Identifies | None, into: dict[str, set[Identifies]]) -> None:
    """Take what a field holds, as it is compared: addresses, or the whole of it."""
    if not value or not value.strip():
        return
    kind = kind or (Identifies.EMAIL if addresses_in(value) else Identifies.NAME)
    values = addresses_of(value) if kind is Identifies.EMAIL else {value.strip().lower()}
    for one in values:
        into.setdefault(one, set()).add(kind)


def _is_distinctive(value: str, kinds: set[Identifies]) -> bool:
    """Whether a name or number stands in no other text by chance."""
    if len(value) < _SHORTEST:
        return False
    if "@" in value:
        return True
    if Identifies.PHONE in kinds:
        return sum(character.isdigit() for character in value) >= _SHORTEST
    return " " in value
