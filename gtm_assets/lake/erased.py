"""Who was erased: keyed hashes of ids and addresses, and what records lose by them.

An erasure is an entry of the ledger, ``lake/erasures/<name>.json``, of which a copy lies in a folder of its own: a
lake that was restored from a backup has none. It holds no id and no address in clear but HMAC-SHA-256 of them, by
kind of what is hashed:

| kind | hashed | what is lost |
|---|---|---|
| ``person <source>.<table>`` | a record's id | all personal fields of it and of what is about it |
| ``texts <source>.<table>`` | a record's id | all personal fields of it: they may name the person |
| ``cell <source>.<table>.<column>`` | a record's id | that field alone, which names the person |
| ``email`` | an address that the person is known by | as an id, and each text in which it stands |
| ``address`` | another address of the person's | each text in which it stands |

The same rules rewrite what has landed and meet what lands: so a record that comes again is the same version.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from gtm_assets import place
from gtm_assets.catalog.raw_table import Column, Identifies, Link, RawTable
from gtm_assets.errors import LakeError
from gtm_assets.lake.coerce import as_text
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.place import Place

EMAIL, ADDRESS = "email", "address"
_FOLDER = "erasures"
_FOUND = "found-"
"""Begins the name of an entry that a landing wrote: a person who was erased has come under another id."""
_APPLIED = "applied"
_TOKEN = re.compile(r"[^\s<>,;:\"'()\[\]{}|\\/=]+@[^\s<>,;:\"'()\[\]{}|\\/=]+")
Kinds = Mapping[str, Iterable[str]]


def person_kind(source: str, table: str) -> str:
    """The kind of a person's record ids."""
    return f"person {source}.{table}"


def texts_kind(source: str, table: str) -> str:
    """The kind of ids of records whose texts may name a person."""
    return f"texts {source}.{table}"


def cell_kind(table: RawTable, column: str) -> str:
    """The kind of ids of records of which one field names a person."""
    return f"cell {table.qualified_name}.{column}"


def normalised(address: str) -> str:
    """An address as it is compared: neither case nor what stands around it counts."""
    return address.strip().strip(".").lower()


def addresses_in(text: str) -> set[str]:
    """The email addresses that stand in a text."""
    return {normalised(found) for found in _TOKEN.findall(text)}


def addresses_of(text: str) -> set[str]:
    """The addresses that a field for addresses holds; a text without any counts as one."""
    return addresses_in(text) | {normalised(text)}


class Ledger:
    """The erasures of one lake."""

    def __init__(self, root: Place, folder: Path | None = None, key: bytes | None = None) -> None:
        """The ledger of the lake under ``root``; ``folder`` holds the copy, and the key unless that is given."""
        self._root, self._folder, self._given = root / _FOLDER, folder, key

    # -- the key -------------------------------------------------------------------------------------------------

    @property
    def _key_path(self) -> Path | None:
        return self._folder / "key" if self._folder else None

    def key(self) -> bytes:
        """The key of the hashes.

        Raises:
            LakeError: it is not there.
        """
        if self._given:
            return self._given
        if self._key_path is not None:
            with suppress(FileNotFoundError):
                return self._key_path.read_bytes()
        raise LakeError(
            f"people were erased from this lake ({self._root}), and the key of their hashes is not there"
            + (f" ({self._key_path})" if self._key_path else "")
            + ". Without it they would land again. Restore the file, or set GTM_ERASURE_KEY; nothing was landed"
        )

    def make_key(self) -> None:
        """Make the key where there is none. The caller has seen that nobody was erased with another.

        Raises:
            LakeError: the ledger has entries, and their key is lost.
        """
        if self._given or self._key_path is None or self._key_path.exists():
            return
        if self.entries():
            self.key()
        import secrets

        self._key_path.parent.mkdir(parents=True, exist_ok=True)
        self._key_path.touch(0o600)
        self._key_path.write_bytes(secrets.token_bytes(32))

    def hash(self, kind: str, value: str) -> str:
        """The keyed hash of an id or address."""
        return _hash(self.key(), kind, value)

    # -- entries -------------------------------------------------------------------------------------------------

    def entries(self) -> dict[str, dict[str, frozenset[str]]]:
        """The entries of the lake and of the copy: hashes by kind, by the entry's name."""
        found: dict[str, dict[str, frozenset[str]]] = {}
        for name, texts in self._texts().items():
            kinds = found.setdefault(name, {})
            for text in texts:
                for kind, hashes in json.loads(text)["hashes"].items():
                    kinds[kind] = kinds.get(kind, frozenset()) | frozenset(hashes)
        return found

    def _texts(self) -> dict[str, list[str]]:
        texts: dict[str, list[str]] = {}
        for folder in self._places():
            for path in place.found(folder, "*.json"):
                texts.setdefault(path.name.removesuffix(".json"), []).append(place.text_of(path))
        return texts

    def _places(self) -> list[Place]:
        return [self._root, *([self._folder / "ledger"] if self._folder else [])]

    def write(self, name: str, kinds: Kinds) -> None:
        """Enter hashes of ids and addresses, given in clear. What the entry has already stays."""
        key = self.key()
        hashes = hashed(key, kinds)
        for kind, before in self.entries().get(name, {}).items():
            hashes[kind] = hashes.get(kind, set()) | before
        self._put(name, hashes)

    def _put(self, name: str, hashes: Mapping[str, Iterable[str]]) -> None:
        there = {kind: sorted(some) for kind, some in sorted(hashes.items()) if some}
        text = json.dumps({"hashes": there}, indent=1) + "\n"
        for folder in self._places():
            place.make_folder(folder)
            place.replace(folder / f"{name}.json", text)

    def synchronise(self) -> None:
        """Give the lake what the copy alone has, and the copy what the lake alone has."""
        texts = self._texts()
        entries = self.entries() if texts else {}
        places = len(self._places())
        for name, kinds in entries.items():
            if len(texts[name]) < places or len(set(texts[name])) > 1:
                self._put(name, kinds)

    # -- what of it has been done --------------------------------------------------------------------------------

    def digests(self) -> dict[str, str]:
        """The entries, each with a digest of what it says."""
        digests = {}
        for name, kinds in self.entries().items():
            there = json.dumps({kind: sorted(hashes) for kind, hashes in sorted(kinds.items())})
            digests[name] = hashlib.sha256(there.encode()).hexdigest()[:16]
        return digests

    def unapplied(self, asked_for: bool = False) -> set[str]:
        """The entries that the lake's files have not been rewritten by; ``asked_for``: not those of landings."""
        digests = self.digests()
        if not digests:
            return set()
        applied: dict[str, str] = {}
        with suppress(FileNotFoundError, ValueError):
            applied = json.loads(place.text_of(self._root / _APPLIED))
        left = {name for name, digest in digests.items() if applied.get(name) != digest}
        return {name for name in left if not (asked_for and name.startswith(_FOUND))}

    def mark_applied(self) -> None:
        """Say that the lake's files have been rewritten by all entries."""
        place.make_folder(self._root)
        place.replace(self._root / _APPLIED, json.dumps(self.digests(), indent=1) + "\n")

    # -- asking --------------------------------------------------------------------------------------------------

    def of(self, table: RawTable) -> Erased:
        """What the ledger says of a table now. It costs next to nothing where nobody was erased.

        Raises:
            LakeError: somebody was, and the key is not there.
        """
        hashes: dict[str, set[str]] = {}
        for kinds in self.entries().values():
            for kind, some in kinds.items():
                hashes.setdefault(kind, set()).update(some)
        return Erased(table, hashes, self.key() if hashes else b"", self)


@dataclass(frozen=True)
class Seen:
    """What a page of records lost."""

    page: pl.DataFrame
    touched: pl.Series
    """Boolean: the record held something that is gone now."""
    concerned: pl.Series
    """Boolean: the record is a person's who was erased, or may name one, whether it held anything or not."""
    cells: dict[str, int] = field(default_factory=dict)
    """Column to the number of its values that are gone."""


class Erased:
    """What the ledger knows that concerns one table."""

    def __init__(self, table: RawTable, hashes: dict[str, set[str]], key: bytes, ledger: Ledger) -> None:
        """``hashes`` are those of the whole ledger, by kind."""
        self._table, self._key, self._ledger = table, key, ledger
        self._hashes = hashes
        self.found: dict[str, set[str]] = {}
        """By kind the ids that turned out to be of a person who was erased, and that the ledger lacks."""
        self.addresses: set[str] = set()
        """The addresses of the ledger that came, in clear."""

    def __bool__(self) -> bool:
        """Whether anybody was erased."""
        return bool(self._hashes)

    def without(self, page: pl.DataFrame) -> pl.DataFrame:
        """A page without what identifies those who were erased."""
        return self.seen(page).page if self else page

    def keep_found(self) -> None:
        """Enter in the ledger under which further ids those who were erased have come."""
        for kind, ids in self.found.items():
            for id_ in sorted(ids):
                self._ledger.write(_FOUND + self._ledger.hash(kind, id_)[:16], {kind: [id_]})
        self.found.clear()

    def seen(self, page: pl.DataFrame) -> Seen:
        """A page without what identifies those who were erased, and which records that concerns."""
        none = pl.Series([False]).new_from_index(0, page.height)
        if not self or page.is_empty():
            return Seen(page, none, none)
        concerned = self._concerned(page)
        lost = self._lost(page, concerned)
        touched, cells = none, {}
        for name, rows in lost.items():
            held = rows & page[name].is_not_null()
            if count := int(held.sum()):
                cells[name] = count
                touched |= held
        if not cells:
            return Seen(page, touched, concerned)
        emptied = [pl.when(pl.lit(lost[name])).then(None).otherwise(pl.col(name)).alias(name) for name in cells]
        return Seen(self._with_other_ids(page.with_columns(emptied), touched), touched, concerned, cells)

    # -- which records -------------------------------------------------------------------------------------------

    def _concerned(self, page: pl.DataFrame) -> pl.Series:
        """The records of those who were erased, and those that may name them."""
        table = self._table
        rows = pl.Series([False]).new_from_index(0, page.height)
        ids = self._ids(page, table.id_column)
        own = person_kind(table.source, table.name)
        rows |= self._in([own, texts_kind(table.source, table.name)], ids)
        if table.holds_people:
            is_known = self._in([own], ids)
            people = is_known
            for column in self._columns(page, Identifies.EMAIL):
                people |= self._has_address(as_text(page[column.name]), [EMAIL], addresses_of)
            for column, kinds in self._references(page, Link.SAME):
                people |= self._in(kinds, self._ids(page, column.name))
            self._note(own, ids.filter(people & ~is_known))
            for column, kinds in self._references(page, Link.SAME):
                others = self._ids(page, column.name)
                self._note(kinds[0], others.filter(people & ~self._in(kinds, others)))
            rows |= people
        else:
            for column in self._columns(page, Identifies.EMAIL):
                rows |= self._has_address(as_text(page[column.name]), [EMAIL, ADDRESS], addresses_of)
            for column in table.columns:
                if column.personal_where and column.name in page.columns:
                    # What a row with the address is about is the person, as are the other rows about it.
                    here = self._has_address(as_text(page[column.name]), [EMAIL], addresses_in)
                    for reference, kinds in self._references(page, Link.ABOUT):
                        subjects = self._ids(page, reference.name)
                        self._note(kinds[0], subjects.filter(here & ~self._in(kinds[:1], subjects)))
                        rows |= subjects.is_in(subjects.filter(here).drop_nulls().unique().implode()).fill_null(
                            False
                        )
        for column, kinds in self._references(page, Link.ABOUT):
            rows |= self._in(kinds, self._ids(page, column.name))
        return rows

    def _columns(self, page: pl.DataFrame, identifies: Identifies) -> list[Column]:
        return [c for c in self._table.columns if c.identifies is identifies and c.name in page.columns]

    def _references(self, page: pl.DataFrame, link: Link) -> list[tuple[Column, list[str]]]:
        """The references of a kind, each with the kinds of ids that it may hold: people first."""
        source = self._table.source
        return [
            (
                column,
                [
                    *(person_kind(source, name) for name in column.refers.tables),
                    *(texts_kind(source, name) for name in column.refers.tables if link is Link.ABOUT),
                ],
            )
            for column in self._table.columns
            if column.refers and column.refers.link is link and column.name in page.columns
        ]

    def _ids(self, page: pl.DataFrame, name: str) -> pl.Series:
        absent = pl.Series(name, [None], dtype=pl.String).new_from_index(0, page.height)
        return as_text(page[name]) if name in page.columns else absent

    def _note(self, kind: str, ids: pl.Series) -> None:
        """Keep ids of a person that the ledger does not have; they count from now on."""
        fresh = {id_ for id_ in ids.drop_nulls().unique().to_list() if id_}
        if fresh:
            self.found.setdefault(kind, set()).update(fresh)
            self._hashes.setdefault(kind, set()).update(_hash(self._key, kind, id_) for id_ in fresh)

    def _in(self, kinds: Iterable[str], values: pl.Series) -> pl.Series:
        """Which values have their hash in the ledger as one of these kinds."""
        known = [(kind, self._hashes[kind]) for kind in kinds if self._hashes.get(kind)]
        if not known:
            return pl.Series([False]).new_from_index(0, len(values))
        hit = [
            value
            for value in values.drop_nulls().unique().to_list()
            if any(_hash(self._key, kind, value) in hashes for kind, hashes in known)
        ]
        return values.is_in(pl.Series(hit, dtype=pl.String).implode()).fill_null(False)

    def _has_address(
        self, texts: pl.Series, kinds: Iterable[str], addresses: Callable[[str], set[str]]
    ) -> pl.Series:
        """Which texts hold an address that is in the ledger as one of these kinds."""
        known = [(kind, self._hashes[kind]) for kind in kinds if self._hashes.get(kind)]
        if not known:
            return pl.Series([False]).new_from_index(0, len(texts))
        hit = []
        for text in texts.drop_nulls().unique().to_list():
            theirs = {
                address
                for address in addresses(text)
                if any(_hash(self._key, kind, address) in hashes for kind, hashes in known)
            }
            if theirs:
                self.addresses |= theirs
                hit.append(text)
        return texts.is_in(pl.Series(hit, dtype=pl.String).implode()).fill_null(False)

    # -- which fields --------------------------------------------------------------------------------------------

    def _lost(self, page: pl.DataFrame, concerned: pl.Series) -> dict[str, pl.Series]:
        """By column the records that lose it."""
        table = self._table
        known = {column.name: column for column in table.columns}
        kept = {table.id_column, table.cursor, table.deletes.value, *LOADER_COLUMNS}
        lost: dict[str, pl.Series] = {}
        for name in page.columns:
            column = known.get(name)
            if name in kept:
                continue
            rows = pl.Series([False]).new_from_index(0, page.height)
            # What the catalogue does not know may be anything.
            if column is None or column.pii is not None:
                rows |= concerned & _is_personal(page, column)
            rows |= self._in([cell_kind(table, name)], self._ids(page, table.id_column))
            is_an_identity = table.holds_people and column is not None and column.identifies is Identifies.EMAIL
            if page[name].dtype == pl.String and not is_an_identity:
                texts = page[name]
                with_one = texts.set(~texts.str.contains("@", literal=True).fill_null(False), None)
                rows |= self._has_address(with_one, [EMAIL, ADDRESS], addresses_in)
            lost[name] = rows
        return lost

    def _with_other_ids(self, page: pl.DataFrame, touched: pl.Series) -> pl.DataFrame:
        """An id that was made of the values is hashed with the key: nobody else can prove what they were."""
        name = self._table.id_column
        made = next(c for c in self._table.columns if c.name == name).identifies is Identifies.HASH
        if not made or name not in page.columns:
            return page
        ids = [
            _hash(self._key, f"id {self._table.qualified_name}", str(id_))[:32]
            if lost and id_ is not None
            else id_
            for id_, lost in zip(page[name], touched, strict=True)
        ]
        return page.with_columns(pl.Series(name, ids, dtype=page[name].dtype))


def _is_personal(page: pl.DataFrame, column: Column | None) -> pl.Series:
    """Which rows of a column hold personal data."""
    everywhere = pl.Series([True]).new_from_index(0, page.height)
    if column is None or column.personal_where is None:
        return everywhere
    name, beginning = column.personal_where
    if name not in page.columns:
        return everywhere
    return as_text(page[name]).str.starts_with(beginning).fill_null(False)


def hashed(key: bytes, kinds: Kinds) -> dict[str, set[str]]:
    """The hashes of ids and addresses in clear."""
    return {kind: {_hash(key, kind, value) for value in values} for kind, values in kinds.items()}


def _hash(key: bytes, kind: str, value: str) -> str:
    return hmac.digest(key, f"{kind}\n{value}".encode(), "sha256").hex()
