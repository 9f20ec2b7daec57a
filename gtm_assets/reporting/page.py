"""What a report page is made of: sections of tiles, charts, tables and words, and what a reader may choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gtm_assets.reporting.rows import Kind, Measure, Rows

if TYPE_CHECKING:
    from gtm_assets.reporting.published import Published


@dataclass(frozen=True)
class Choice:
    """A list to choose from. Figures show the rows whose column has the chosen value.

    A figure whose rows lack the column says that the choice does not change it.
    """

    column: str
    label: str
    options: Sequence[tuple[Any, str]]
    """Values with what is shown."""
    everything: str = ""
    """What is shown for all rows; without it one of the options is always chosen, the first to begin with."""
    from_on: bool = False
    """Whether rows with greater values are shown too: from a day on."""

    @property
    def at_first(self) -> Any:
        """The value that is chosen to begin with; None for all rows."""
        return None if self.everything else self.options[0][0] if self.options else None


@dataclass(frozen=True)
class Tile:
    """A headline number, with its change."""

    label: str
    rows: Rows
    measure: Measure
    before: Sequence[tuple[str, str]] = ()
    """Earlier figures: what they are called, such as `month before`, and the column that holds them."""
    better: Literal["up", "down", ""] = "up"
    """Which way is good news; empty where neither is."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Values that columns must have."""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows by group, with their measures."""

    title: str
    rows: Rows
    by: Sequence[str]
    measures: Sequence[Measure] = ()
    """Of a chart one at least."""
    where: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    if_missing: str = ""
    """Why a figure may be missing. It is said where one is."""
    largest_first: bool = False
    """Whether the rows are in the order of the first measure; else in that of the query."""
    wide: bool = False
    """Whether it takes the whole width of the page."""


@dataclass(frozen=True)
class Chart(Table):
    """A drawing of such rows; the table stands behind it."""

    drawn: Callable[[Chart], dict[str, Any]] = field(default=lambda _: {}, kw_only=True)
    """Gives the Vega-Lite specification: one of ``charts.py``, or a chart of Altair's on the data ``rows``, whose
    fields are the columns of ``by`` and the labels of the measures."""
    most: int | None = field(default=None, kw_only=True)
    """So many rows are drawn at most, the first ones; the table has all."""


@dataclass(frozen=True)
class Words:
    """Paragraphs."""

    paragraphs: Sequence[str]


Figure: TypeAlias = Tile | Table | Words


@dataclass(frozen=True)
class Section:
    """A part of a page, with its choices."""

    title: str
    figures: Sequence[Figure]
    choices: Sequence[Choice] = ()
    note: str = ""


@dataclass(frozen=True)
class Content:
    """What a page holds: its sections, and choices that are for all of them."""

    sections: Sequence[Section]
    choices: Sequence[Choice] = ()


@dataclass(frozen=True)
class Page:
    """A page: its file, its name in the navigation, and what makes it."""

    name: str
    """The file's name without `.html`."""
    title: str
    lead: str
    """A sentence that says what the page answers."""
    content: Callable[[Published], Content]


def options_of(rows: Rows, column: str, shown: Callable[[Any, Kind], str]) -> list[tuple[Any, str]]:
    """The options of a choice: the values of a column, in their order."""
    from gtm_assets.reporting.rows import plain

    kind = rows.column(column).kind
    return [(plain(value, kind), shown(plain(value, kind), kind)) for value in rows.distinct(column)]
