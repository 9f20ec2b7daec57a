"""What the platform knows of a raw table: its name, columns, cursor and how its deletes are seen.

A source's catalogue is a tuple of :class:`RawTable`. The lake types records by it, the raw assets are made
from it and the dbt source file is generated from it, so a table is described once.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl
import pyarrow as pa


class ColumnType(enum.Enum):
    """Type of a raw column. Which of a source's types each stands for is in that source's catalogue."""

    STRING = "varchar"
    BOOLEAN = "boolean"
    INTEGER = "bigint"
    DOUBLE = "double"
    CURRENCY = "decimal(24,6)"
    """Eighteen digits before the point, which no currency field exceeds, and six after it."""
    DATE = "date"
    TIMESTAMP = "timestamp with time zone"

    @property
    def sql(self) -> str:
        """The type's name in SQL, as the dbt sources state it."""
        return self.value

    @property
    def polars(self) -> pl.DataType:
        """The Polars type of a landed column."""
        return _POLARS[self]

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type written to Parquet."""
        return _ARROW[self]


_POLARS = {
    ColumnType.STRING: pl.String(),
    ColumnType.BOOLEAN: pl.Boolean(),
    ColumnType.INTEGER: pl.Int64(),
    ColumnType.DOUBLE: pl.Float64(),
    ColumnType.CURRENCY: pl.Decimal(24, 6),
    ColumnType.DATE: pl.Date(),
    ColumnType.TIMESTAMP: pl.Datetime("us", "UTC"),
}
_ARROW = {
    ColumnType.STRING: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.CURRENCY: pa.decimal128(24, 6),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: pa.timestamp("us", "UTC"),
}


class Pii(enum.Enum):
    """How closely a column with personal data is guarded. Restricted columns are never extracted."""

    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"


class Identifies(enum.Enum):
    """How a column tells one person from all others. A table of people has a column with names."""

    NAME = "name"
    EMAIL = "email"
    """One address or several; other texts may stand between them."""
    PHONE = "phone"
    HASH = "hash"
    """An id that is made of the record's values: who guesses these can prove it."""


class Link(enum.Enum):
    """What a reference to another record says of the person there."""

    SAME = "same"
    """It is the same person."""
    ABOUT = "about"
    """The record is about that one: its texts may name the person."""
    NAMED_IN = "named in"
    """Texts of the other record may name the person of this one."""


@dataclass(frozen=True)
class Reference:
    """What a column that holds another record's id refers to, where that matters for personal data."""

    link: Link
    tables: tuple[str, ...]
    """Names of tables of the same source; the id is of a record of one of them."""


class Deletes(enum.Enum):
    """How a deleted record of a table is recognised."""

    SOFT = "is_deleted"
    """The source marks it in ``is_deleted`` and still returns it."""
    SNAPSHOT = "_fivetran_deleted"
    """It is missing from a full extraction; the loader marks it in ``_fivetran_deleted``."""


@dataclass(frozen=True)
class Column:
    """A column of a raw table.

    ``api_name`` is the source's own name, ``name`` ours (snake_case).
    """

    name: str
    type: ColumnType
    description: str
    api_name: str
    pii: Pii | None = None
    optional: str = ""
    """With what of its own a source has the column; empty where every one has it."""
    identifies: Identifies | None = None
    refers: Reference | None = None
    personal_where: tuple[str, str] | None = None
    """A column and a text: only rows in which that begins with this hold personal data here. None: all do."""


@dataclass(frozen=True)
class RawTable:
    """A raw table: the catalogue's entry for one object of a source.

    ``columns`` holds the source's own columns and the delete mark, without the loader's bookkeeping.
    ``cursor`` names the column that orders a record's versions.
    """

    source: str
    name: str
    api_name: str
    description: str
    columns: tuple[Column, ...] = field(repr=False)
    cursor: str
    deletes: Deletes
    id_column: str = "id"
    expects_daily_rows: bool = False
    """Whether rows come every working day, so that silence is news."""
    is_taken_whole: bool = False
    """Whether each extraction takes all records and not those of its window: a partition holds what was new."""
    is_append_only: bool = False
    """Whether records never change: only their creation orders them, and what the source purges is kept."""

    def __post_init__(self) -> None:
        """Refuse a catalogue entry that the lake could not use."""
        names = [column.name for column in self.columns]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{self.qualified_name}: columns {repeated} are listed twice in the catalogue")
        for needed in (self.id_column, self.cursor, self.deletes.value):
            if needed not in names:
                raise ValueError(f"{self.qualified_name}: column {needed} is missing from the catalogue")
        for name, type_ in ((self.cursor, ColumnType.TIMESTAMP), (self.deletes.value, ColumnType.BOOLEAN)):
            if self.types[name] is not type_:
                raise ValueError(
                    f"{self.qualified_name}: the catalogue declares {name} as {self.types[name].value}; "
                    f"the lake needs a {type_.value}"
                )

    @property
    def qualified_name(self) -> str:
        """``source.table``: how messages and commands name the table."""
        return f"{self.source}.{self.name}"

    @cached_property
    def holds_people(self) -> bool:
        """Whether a record is a person."""
        return any(column.identifies is Identifies.NAME for column in self.columns)

    @cached_property
    def types(self) -> dict[str, ColumnType]:
        """Column name to type, in the catalogue's order."""
        return {column.name: column.type for column in self.columns}


@dataclass(frozen=True)
class Described:
    """What a source says of a table's fields, as our user sees them, against the catalogue."""

    not_landed: tuple[str, ...] = ()
    """The source's names of fields that the catalogue does not have."""
    new: tuple[str, ...] = ()
    """Those of them that came since the last description."""
    absent: frozenset[str] = frozenset()
    """Columns that the source does not have, or hides from us."""
    expected: frozenset[str] = frozenset()
    """Columns that every organisation has, or that the source once had."""
    retyped: Mapping[str, str] = field(default_factory=dict)
    """Column to what its type has become, where values may not fit any more."""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """Column to the source's name of the field that fills it, as its own is hidden."""


_LOWER_TO_UPPER = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LETTER_DIGIT = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")


def fivetran_name(api_name: str) -> str:
    """The snake_case name that Fivetran gives to a column or table.

    >>> fivetran_name("Audit_Phase__c"), fivetran_name("Pricebook2Id")
    ('audit_phase_c', 'pricebook_2_id')

    Rule: Fivetran's documented naming, transliteration excepted (API names are ASCII). A run of capitals is
    not split before its last one: ``LastCURequestDate`` is ``last_curequest_date``.
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", api_name)
    name = _LOWER_TO_UPPER.sub("_", name)
    name = _LETTER_DIGIT.sub("_", name)
    name = re.sub(r"_+", "_", name).lower()
    return f"_{name}" if name[:1].isdigit() else name
