"""Rows that the published file gave, how they add up, and how a figure is written.

``frame.js`` adds up and writes in the same way, with the rows that a reader has chosen. A test compares both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import Any, Literal

from gtm_assets.errors import GtmError

Kind = Literal["text", "day", "week", "month", "instant", "count", "amount", "share", "number"]
"""What a column holds. A week is named by its Sunday. An amount is in the reporting currency, a share 0 to 1; a
number has one decimal."""
ADDITIVE = frozenset({"count", "amount"})
NOTHING = "–"
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SCALES = ((1e9, "bn"), (1e6, "m"), (1e4, "k"))
"""From so much on a headline is written with this unit; thousands from ten thousand on."""


class ReportError(GtmError):
    """A report page can't be made, or can't be shown. The message says why."""


@dataclass(frozen=True)
class Column:
    """A column of rows."""

    name: str
    label: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Measure:
    """A figure of rows: the sum of a column, or that sum divided by the sum of others."""

    label: str
    of: str
    kind: Kind
    over: tuple[str, ...] = ()
    """Columns whose sum it is divided by, where it is a ratio."""
    metric: str = ""
    """The metric of ``gtm metrics`` that it is."""


@dataclass(frozen=True)
class Rows:
    """What a query on the published file gave."""

    name: str
    columns: tuple[Column, ...]
    values: Sequence[tuple[Any, ...]]
    query: str
    report: str = ""
    """The table whose columns have the names of these, ``schema.table``: it describes them."""
    written_anew: bool = True
    """Whether pages are written anew where only these rows have changed."""

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where each column stands in a row."""
        return {column.name: place for place, column in enumerate(self.columns)}

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises:
            ReportError: there is none.
        """
        if name not in self.places:
            raise ReportError(f"the rows {self.name!r} of a report page have no column {name!r}")
        return self.columns[self.places[name]]

    def distinct(self, name: str) -> list[Any]:
        """The values of a column in their order of appearance, without null."""
        place = self.places[self.column(name).name]
        return list(dict.fromkeys(row[place] for row in self.values if row[place] is not None))


def plain(value: Any, kind: Kind) -> str | int | float | None:
    """A value as it stands in a page: an amount in hundredths, exact; a time as text that sorts."""
    match value:
        case None:
            return None
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M")
        case date():
            return value.isoformat()
        case Decimal() if kind == "amount":
            return int((value * 100).to_integral_value(ROUND_HALF_UP))
        case int() if kind == "amount":
            return value * 100
        case Decimal():
            return int(value) if kind == "count" else float(value)
        case bool():
            return "yes" if value else "no"
        case int() | float() | str():
            return value
    return str(value)


def grouped(
    rows: Rows,
    by: Sequence[str],
    measures: Sequence[Measure],
    chosen: Mapping[str, Any],
    largest_first: bool = False,
) -> list[tuple[Any, ...]]:
    """Keys and measures of the rows that have the ``chosen`` values, by group.

    Groups are in their order of appearance, or those with the largest first measure come first.

    Raises:
        ReportError: figures that don't add up would be added.
    """
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    places = [rows.places[rows.column(name).name] for name in by]
    for row in rows.values:
        if all(row[rows.places[rows.column(name).name]] == value for name, value in chosen.items()):
            groups.setdefault(tuple(row[place] for place in places), []).append(row)
    if not by and not groups:
        groups[()] = []
    found = [
        (
            *(plain(value, rows.column(name).kind) for value, name in zip(key, by, strict=True)),
            *(measured(rows, measure, members) for measure in measures),
        )
        for key, members in groups.items()
    ]
    if largest_first:
        found.sort(key=lambda row: _size(row[len(by)]), reverse=True)
    return found


def _size(value: Any) -> float:
    """A figure as it is compared: one that is not known is smaller than all others."""
    return float("-inf") if value is None else value


def measured(rows: Rows, measure: Measure, members: Sequence[tuple[Any, ...]]) -> int | float | str | None:
    """A measure of these rows, as :func:`plain` writes it; None where there is nothing to add or to divide by.

    Raises:
        ReportError: figures that don't add up would be added.
    """
    column = rows.column(measure.of)
    if not measure.over:
        return _sum(rows, column, members)
    above = _sum(rows, column, members)
    below = [_sum(rows, rows.column(name), members) for name in measure.over]
    total = sum(value for value in below if isinstance(value, int | float))
    return above / total if isinstance(above, int | float) and total else None


def _sum(rows: Rows, column: Column, members: Sequence[tuple[Any, ...]]) -> int | float | str | None:
    place = rows.places[column.name]
    found = [plain(row[place], column.kind) for row in members if row[place] is not None]
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    if column.kind not in ADDITIVE:
        raise ReportError(
            f"{column.name} of the rows {rows.name!r} does not add up, and a figure of a report page has "
            f"{len(found)} of them. Take rows of its grain, or make it a ratio of sums"
        )
    return sum(value for value in found if isinstance(value, int))


# -- how figures are written ----------------------------------------------------------------------------------


def written(value: str | int | float | None, kind: Kind, currency: str = "") -> str:
    """A plain value in full."""
    match value:
        case None:
            return NOTHING
        case str():
            if kind == "month":
                return f"{MONTHS[int(value[5:7]) - 1]} {value[:4]}"
            return f"{value} UTC" if kind == "instant" else value
    match kind:
        case "amount":
            sign = "−" if value < 0 else ""
            return f"{sign}{_symbol(currency)}{abs(int(value)) // 100:,}.{abs(int(value)) % 100:02d}"
        case "share":
            return f"{_fixed(value * 100, 1)} %"
        case "number":
            return _fixed(value, 1)
    return f"{'−' if value < 0 else ''}{abs(int(value)):,}"


def short(value: str | int | float | None, kind: Kind, currency: str = "") -> str:
    """A plain value as a headline: amounts and counts with k, m or bn, as far as they are large."""
    if isinstance(value, str | None) or kind not in ADDITIVE:
        return written(value, kind, currency)
    size = abs(value) / 100 if kind == "amount" else abs(value)
    sign, symbol = "−" if value < 0 else "", _symbol(currency) if kind == "amount" else ""
    for scale, unit in _SCALES:
        if size >= scale:
            number = _fixed(size / 1e3, 1) if unit == "k" else _fixed(size / scale, 2)
            return f"{sign}{symbol}{number}{unit}"
    return f"{sign}{symbol}{_fixed(size, 0)}"


def change(now: int | float | None, before: int | float | None, kind: Kind) -> float | None:
    """How a figure stands to an earlier one: for shares the difference, else the relative one."""
    if now is None or before is None:
        return None
    if kind == "share":
        return now - before
    return (now - before) / before if before > 0 else None


def written_change(value: float | None, kind: Kind) -> str:
    """A change: percentage points of shares, per cent of all else."""
    if value is None:
        return NOTHING
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    return f"{sign}{_fixed(abs(value) * 100, 1)} {'pp' if kind == 'share' else '%'}"


def _symbol(currency: str) -> str:
    return SYMBOLS.get(currency, f"{currency}\u00a0" if currency else "")


def _fixed(value: float, digits: int) -> str:
    # As JavaScript's toFixed does: the exact value, halves away from zero.
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{'−' if rounded < 0 else ''}{abs(rounded):,}"
