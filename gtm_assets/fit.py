"""Fitting records to the catalogue's types without loss.

A value either fits its column's type exactly or is reported; nothing is rounded, cut off or guessed. Sources hand
over text (CSV), JSON scalars or typed columns; all end in the catalogue's types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from gtm_assets.sources.raw_table import ColumnType, RawTable

_WHAT = {
    ColumnType.STRING: "a text",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.INTEGER: "a whole number",
    ColumnType.DOUBLE: "a number",
    ColumnType.CURRENCY: "an amount with at most 16 digits and two decimals",
    ColumnType.DATE: "a date",
    ColumnType.TIMESTAMP: "a timestamp",
}
_EXACT_IN_DOUBLE = 2**53
_CURRENCY_LIMIT = 10**16


@dataclass(frozen=True)
class Misfit:
    """Records of one page whose value of ``column`` has no place in its type (or is missing and must not be)."""

    column: str
    problem: str
    rows: pl.Series
    """Boolean, one per record of the page."""
    values: pl.Series
    """The values as they came, as text."""


@dataclass(frozen=True)
class TypedPage:
    """A page of records after typing. ``misfits`` marks the records of ``frame`` that do not fit."""

    frame: pl.DataFrame
    misfits: tuple[Misfit, ...]
    unknown_columns: tuple[str, ...]
    missing_columns: tuple[str, ...]

    @property
    def fits(self) -> pl.Series:
        """Boolean, one per record: true where the record fits whole."""
        bad = pl.Series([False]).new_from_index(0, self.frame.height)
        for misfit in self.misfits:
            bad = bad | misfit.rows
        return ~bad


def fit(table: RawTable, page: pl.DataFrame) -> TypedPage:
    """The page in the catalogue's types: catalogue columns in order, unknown ones after them as text.

    Columns that the page lacks are null. A record without id or cursor is a misfit.
    """
    columns: list[pl.Series] = []
    misfits: list[Misfit] = []
    for name, type_ in table.types.items():
        if name not in page.columns:
            columns.append(pl.Series(name, [], dtype=type_.polars).extend_constant(None, page.height))
            continue
        given = page[name]
        values = _cast(given, type_)
        columns.append(values.alias(name))
        lost = given.is_not_null() & values.is_null()
        if type_ is not ColumnType.STRING and given.dtype == pl.String:
            lost &= given.str.strip_chars() != ""
        if lost.any():
            misfits.append(Misfit(name, f"is not {_WHAT[type_]}", lost, as_text(given)))
    typed = {column.name: column for column in columns}
    for name in (table.id_column, table.cursor):
        values = typed[name]
        absent = values.is_null() if values.dtype != pl.String else values.fill_null("").str.strip_chars() == ""
        absent &= ~_any([m.rows for m in misfits if m.column == name], page.height)
        if absent.any():
            given = page[name] if name in page.columns else values
            misfits.append(Misfit(name, "is missing", absent, as_text(given)))
    unknown = sorted(set(page.columns) - set(table.types))
    columns += [as_text(page[name]) for name in unknown]
    return TypedPage(
        frame=pl.DataFrame(columns),
        misfits=tuple(misfits),
        unknown_columns=tuple(unknown),
        missing_columns=tuple(name for name in table.types if name not in page.columns),
    )


def as_text(values: pl.Series) -> pl.Series:
    """The values as text that :func:`fit` reads back without loss: ISO dates, UTC timestamps, plain decimals."""
    dtype = values.dtype
    if dtype == pl.String:
        return values
    if isinstance(dtype, pl.Datetime):
        return _in_utc(values).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+0000")
    if dtype.is_nested() or dtype == pl.Object or dtype == pl.Null or dtype == pl.Binary:
        return pl.Series(values.name, [None if v is None else str(v) for v in values.to_list()], dtype=pl.String)
    return values.cast(pl.String)


def _any(masks: list[pl.Series], height: int) -> pl.Series:
    result = pl.Series([False]).new_from_index(0, height)
    for mask in masks:
        result = result | mask
    return result


def _cast(values: pl.Series, type_: ColumnType) -> pl.Series:
    """The values in ``type_``; null where one does not fit."""
    if values.dtype == type_.polars:
        return _finite(values) if type_ is ColumnType.DOUBLE else values
    if values.dtype == pl.Null:
        return values.cast(type_.polars)
    if type_ is ColumnType.STRING:
        return as_text(values)
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    return _CASTS[type_](values)


def _nothing(values: pl.Series, type_: ColumnType) -> pl.Series:
    return pl.Series(values.name, [], dtype=type_.polars).extend_constant(None, len(values))


def _finite(values: pl.Series) -> pl.Series:
    return values.set(values.is_nan() | values.is_infinite(), None)


def _to_boolean(values: pl.Series) -> pl.Series:
    if values.dtype != pl.String:
        return _nothing(values, ColumnType.BOOLEAN)
    text = values.str.strip_chars().str.to_lowercase()
    return text.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)


def _to_double(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        return _finite(values.str.strip_chars().cast(pl.Float64, strict=False))
    if values.dtype.is_integer():
        return values.cast(pl.Float64).set(values.cast(pl.Int128).abs() > _EXACT_IN_DOUBLE, None)
    if values.dtype.is_numeric():
        return _finite(values.cast(pl.Float64))
    return _nothing(values, ColumnType.DOUBLE)


def _to_integer(values: pl.Series) -> pl.Series:
    if values.dtype.is_integer():
        return values.cast(pl.Int64, strict=False)
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        # Salesforce writes whole numbers as 12.0 and large ones as 1.2E13.
        return text.cast(pl.Int64, strict=False).zip_with(
            text.str.contains(r"^[+-]?\d+$"), _to_integer(text.cast(pl.Float64, strict=False))
        )
    if values.dtype.is_numeric():
        number = values.cast(pl.Float64)
        whole = (number == number.floor()) & (number.abs() <= _EXACT_IN_DOUBLE)
        return number.set(~whole.fill_null(True), None).cast(pl.Int64, strict=False)
    return _nothing(values, ColumnType.INTEGER)


def _to_currency(values: pl.Series) -> pl.Series:
    target = ColumnType.CURRENCY.polars
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        plain = text.str.contains(r"^[+-]?\d{1,16}(\.\d{0,2}0*)?$")
        cents = text.str.extract(r"^\+?(-?\d+(?:\.\d{0,2})?)", 1).cast(target, strict=False)
        return cents.zip_with(plain.fill_null(False), _to_currency(text.cast(pl.Float64, strict=False)))
    if values.dtype.is_integer():
        return values.set(values.cast(pl.Int128).abs() >= _CURRENCY_LIMIT, None).cast(target, strict=False)
    if isinstance(values.dtype, pl.Decimal):
        cents = values.cast(target, strict=False)
        return cents.set((cents.cast(values.dtype, strict=False) != values).fill_null(True), None)
    if values.dtype.is_float():
        number = values.cast(pl.Float64)
        # Up to 2^53 cents a double holds each cent; beyond, two decimals would be made up.
        exact = (number.round(2) == number) & ((number * 100).abs() <= _EXACT_IN_DOUBLE)
        cents = (number.set(~exact.fill_null(True), None) * 100).round(0).cast(pl.Int64, strict=False)
        return _from_cents(cents)
    return _nothing(values, ColumnType.CURRENCY)


def _from_cents(cents: pl.Series) -> pl.Series:
    sign = pl.when(pl.col("c") < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    units = (pl.col("c").abs() // 100).cast(pl.String)
    rest = (pl.col("c").abs() % 100).cast(pl.String).str.zfill(2)
    text = pl.DataFrame({"c": cents}).select(pl.concat_str([sign, units, pl.lit("."), rest])).to_series()
    return text.cast(ColumnType.CURRENCY.polars).alias(cents.name)


def _to_date(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        plain = text.str.to_date("%Y-%m-%d", strict=False, exact=True)
        return plain.zip_with(plain.is_not_null(), _to_date(_to_timestamp(text)))
    if isinstance(values.dtype, pl.Datetime):
        instant = _in_utc(values)
        midnight = (instant.dt.truncate("1d") == instant).fill_null(False)
        return instant.dt.date().set(~midnight, None)
    return _nothing(values, ColumnType.DATE)


def _to_timestamp(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        # One shape for JSON (…T…+0000), Bulk CSV (…Z) and Fivetran's exports (a space, no offset: UTC).
        text = (
            values.str.strip_chars()
            .str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
            .str.replace(r"(?i)z$", "+0000")
            .str.replace(r"([+-]\d{2}):(\d{2})$", "${1}${2}")
        )
        without_offset = text.str.contains(r"T[\d:.]+$")
        text = text.zip_with(~without_offset.fill_null(False), text + "+0000")
        return text.str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False, exact=True
        )
    if isinstance(values.dtype, pl.Datetime):
        return _in_utc(values)
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return _nothing(values, ColumnType.TIMESTAMP)


def _in_utc(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    assert isinstance(dtype, pl.Datetime)
    values = values.dt.cast_time_unit("us")
    return values.dt.replace_time_zone("UTC") if dtype.time_zone is None else values.dt.convert_time_zone("UTC")


_CASTS: dict[ColumnType, Callable[[pl.Series], pl.Series]] = {
    ColumnType.BOOLEAN: _to_boolean,
    ColumnType.INTEGER: _to_integer,
    ColumnType.DOUBLE: _to_double,
    ColumnType.CURRENCY: _to_currency,
    ColumnType.DATE: _to_date,
    ColumnType.TIMESTAMP: _to_timestamp,
}
