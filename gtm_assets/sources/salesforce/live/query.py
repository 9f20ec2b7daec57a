"""What is asked of an object: the fields that it describes and the catalogue wants, and the SOQL for a span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import requests

from gtm_assets.catalog.raw_table import ColumnType, Described
from gtm_assets.errors import NotReadable
from gtm_assets.partitions import Window
from gtm_assets.sources.salesforce.catalog import SalesforceObject
from gtm_assets.sources.salesforce.live.session import Unsettled, object_with

CURSORS = ("SystemModstamp", "LastModifiedDate", "CreatedDate")
"""Fields that order a record's versions, the best one first."""
_UNSUPPORTED = {"address", "location", "base64", "complexvalue"}
"""Types of fields that Bulk queries can't hold. Their parts are fields of their own."""
_NUMBERS = {"int", "long", "double", "percent", "currency"}
_FITTING = {
    ColumnType.BOOLEAN: {"boolean"},
    ColumnType.INTEGER: _NUMBERS,
    ColumnType.DOUBLE: _NUMBERS,
    ColumnType.CURRENCY: _NUMBERS,
    ColumnType.DATE: {"date"},
    ColumnType.TIMESTAMP: {"datetime"},
}
"""Types of fields whose values a column can hold; a text holds all but the unsupported ones."""
BEGINNING = datetime(1999, 1, 1, tzinfo=UTC)
"""No record of Salesforce is older."""
SHORTEST = timedelta(minutes=1)
"""A span that is not halved any more."""


@dataclass(frozen=True)
class Span:
    """Cursors ``>= start`` and ``< end``; None: without that end."""

    start: datetime | None
    end: datetime | None

    @classmethod
    def of(cls, window: Window, lookback: timedelta) -> Span:
        """What is asked for a window: ``lookback`` more, for records that showed up late."""
        return cls(None if window.start is None else window.start - lookback, window.end)

    def halves(self, now: datetime) -> tuple[Span, Span] | None:
        """The span as two, the earlier first; None where it is too short. ``now`` closes an open end.

        They are asked in this order: a record that changes in between moves to the later one, and is still seen.
        """
        low, high = self.start or BEGINNING, self.end or now
        if high - low < SHORTEST:
            return None
        middle = (low + (high - low) / 2).replace(microsecond=0)
        return Span(self.start, middle), Span(middle, self.end)


@dataclass(frozen=True)
class Description:
    """What an organisation says of one object, as our user sees it."""

    table: SalesforceObject
    types: Mapping[str, str]
    """Field to Salesforce type."""
    not_summable: frozenset[str] = frozenset()
    """Fields that aggregate functions refuse."""
    tells_deletions: bool = False
    """Whether the organisation lists what was deleted from the object (it is replicateable)."""

    @classmethod
    def read(cls, table: SalesforceObject, answer: Mapping[str, Any]) -> Description:
        """From the answer to ``describe``.

        Raises:
            NotReadable: the object can't be queried, or its id or every cursor is hidden.
        """
        if not answer.get("queryable", True):
            raise NotReadable(table, f"our user may not query {table.api_name}")
        fields = answer["fields"]
        description = cls(
            table,
            {field["name"]: field["type"] for field in fields},
            frozenset(field["name"] for field in fields if not field.get("aggregatable", True)),
            bool(answer.get("replicateable")),
        )
        if "Id" not in description.types:
            raise NotReadable(table, f"{table.api_name}.Id is hidden from our user")
        if description.cursor is None:
            raise NotReadable(table, f"{' and '.join(CURSORS)} of {table.api_name} are hidden from our user")
        return description

    @property
    def own_cursor(self) -> str:
        """The catalogue's field that orders versions."""
        return next(c.api_name for c in self.table.columns if c.name == self.table.cursor)

    @property
    def cursor(self) -> str | None:
        """The field that orders versions: the catalogue's, else the best that is there."""
        return next((name for name in (self.own_cursor, *CURSORS) if name in self.types), None)

    @property
    def stand_in(self) -> str | None:
        """The field that stands for the catalogue's cursor, and fills its column; None where that one is shown."""
        return None if self.cursor == self.own_cursor else self.cursor

    @property
    def fields(self) -> dict[str, str]:
        """Field to the catalogue's column: what is selected, in the catalogue's order.

        A cursor that stands in for another and has a column of its own is here once: see :meth:`filled`.
        """
        wanted = {
            column.api_name: column.name
            for column in self.table.columns
            if column.api_name in self.types and self.types[column.api_name] not in _UNSUPPORTED
        }
        assert self.cursor is not None
        return wanted if self.cursor in wanted else wanted | {self.cursor: self.table.cursor}

    def filled(self, page: pl.DataFrame) -> pl.DataFrame:
        """A page of fields as one of columns; what stands for the cursor is in the cursor's column too."""
        page = page.rename(self.fields)
        if self.table.cursor in page.columns:
            return page
        assert self.cursor is not None
        return page.with_columns(pl.col(self.fields[self.cursor]).alias(self.table.cursor))

    @property
    def hidden(self) -> list[str]:
        """Fields of the catalogue that the organisation does not have, or hides from our user.

        A cursor that another one stands for is not among them: see :attr:`stand_in`.
        """
        return [
            column.api_name
            for column in self.table.columns
            if column.api_name and column.api_name not in self.types and column.name != self.table.cursor
        ]

    def against_catalogue(self, before: Sequence[Mapping[str, str]]) -> Described:
        """What differs from the catalogue; ``before`` are earlier descriptions (field to type), oldest first."""
        columns = {column.api_name: column for column in self.table.columns if column.api_name}
        not_landed = sorted(set(self.types) - set(columns))
        once = {name for types in before for name in types}
        absent = {name: columns[name].name for name in self.hidden}
        return Described(
            not_landed=tuple(not_landed),
            new=tuple(name for name in not_landed if before and name not in before[-1]),
            absent=frozenset(absent.values()),
            expected=frozenset(
                column for name, column in absent.items() if name in once or not columns[name].optional
            ),
            stand_ins={self.table.cursor: self.stand_in} if self.stand_in else {},
            retyped={
                column.name: f"{self.table.api_name}.{name} is of type {self.types[name]}"
                for name, column in columns.items()
                if name in self.types and not _fits(self.types[name], column.type)
            },
        )

    def without(self, field: str) -> Description:
        """As if the organisation did not have this field."""
        return replace(self, types={name: kind for name, kind in self.types.items() if name != field})

    @property
    def amounts(self) -> dict[str, str]:
        """Field to the catalogue's column, of those that hold amounts of money that can be summed."""
        types = self.table.types
        return {
            field: column
            for field, column in self.fields.items()
            if types[column] is ColumnType.CURRENCY and field not in self.not_summable
        }

    def select(self, span: Span) -> str:
        """The query for all fields. Without ORDER BY, which would keep Bulk from working in chunks."""
        return self.ask(", ".join(self.fields), span)

    def count(self, span: Span, *conditions: str) -> str:
        """The query for the number of records."""
        return self.ask("COUNT()", span, *conditions)

    def ask(self, what: str, span: Span, *conditions: str) -> str:
        """The query for ``what`` of the records of a span to which the conditions apply."""
        ends = [(">=", span.start), ("<", span.end)]
        bounds = [f"{self.cursor} {sign} {instant(end)}" for sign, end in ends if end is not None]
        where = " AND ".join([*conditions, *bounds])
        return f"SELECT {what} FROM {self.table.api_name}" + (f" WHERE {where}" if where else "")


def read_description(answer: requests.Response) -> Mapping[str, Any]:
    """The answer to ``describe``, if it is one.

    Raises:
        Unsettled: it is not.
    """
    found = object_with("fields")(answer)
    fields = found["fields"]
    if not isinstance(fields, list) or not all(isinstance(f, dict) and {"name", "type"} <= set(f) for f in fields):
        raise Unsettled("the answer is not a description of an object")
    return found


def _fits(kind: str, type_: ColumnType) -> bool:
    return kind not in _UNSUPPORTED if type_ is ColumnType.STRING else kind in _FITTING[type_]


def instant(at: datetime) -> str:
    """A time in SOQL, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def drift(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """What changed between two descriptions of an object (field to type), in phrases."""
    if added := sorted(set(now) - set(before)):
        yield f"new: {', '.join(added)}"
    if gone := sorted(set(before) - set(now)):
        yield f"gone: {', '.join(gone)}"
    if retyped := sorted(name for name in set(before) & set(now) if before[name] != now[name]):
        yield f"type changed: {', '.join(f'{name} from {before[name]} to {now[name]}' for name in retyped)}"
