"""Coercing records to the catalogue's types without loss.

A value either fits its column's type exactly or is reported; nothing is guessed. An amount with more than six
decimals is rounded to six and reported as that: it takes no record out of the reports. Sources hand over text
(CSV), JSON scalars or typed columns; all end in the catalogue's types. NUL bytes, which few engines can hold in a
text, are left out, and counted like the characters that were none where they came from (U+FFFD).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Context, Decimal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from gtm_assets.catalog.raw_table import ColumnType, RawTable
from gtm_assets.lake.columns import SYNCED

FEW = 200
"""Records of a page up to which Python looks at texts faster than Polars plans to."""
_ODD = ["\0", "\ufffd"]
_WHAT = {
    ColumnType.STRING: "a text",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.INTEGER: "a whole number",
    ColumnType.DOUBLE: "a number",
    ColumnType.CURRENCY: "an amount of at most 18 digits before the decimal point",
    ColumnType.DATE: "a date",
    ColumnType.TIMESTAMP: "a timestamp",
}
_EXACT_IN_DOUBLE = 2**53
_CENTS_IN_DOUBLE = 2**46
"""Below this neighbouring doubles are less than a cent apart, so that a double stands for one amount."""
_CURRENCY_LIMIT = 10**18
_MICRO = Decimal("0.000001")
_MANY_DIGITS = Context(prec=400)
_ROUNDED = "has more than six decimals"
_PLAIN_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]*)?$"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,6}0*)?[+-][0-9]{4}$"

_SALESFORCE_INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]\.[0-9]{3}(?:Z|\+0000)$"
"""Timestamps as Salesforce writes them, ``2026-09-30T04:49:00.000Z``."""


@dataclass(frozen=True)
class Reject:
    """Records of one page whose value of ``column`` has no place in its type (or is missing and must not be)."""

    column: str
    problem: str
    rows: pl.Series
    """Boolean, one per record of the page."""
    values: pl.Series
    """The values as they came, as text."""


@dataclass(frozen=True)
class CoercedPage:
    """A page of records after typing. ``rejects`` marks the records of ``frame`` that do not fit."""

    frame: pl.DataFrame
    rejects: tuple[Reject, ...]
    rounded: tuple[Reject, ...]
    """Amounts with more than six decimals, which ``frame`` holds rounded. Their records fit."""
    unknown_columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    repaired: Mapping[str, int]
    """Column to how many of its texts hold U+FFFD, or held NUL."""

    @property
    def fits(self) -> pl.Series:
        """Boolean, one per record: true where the record fits whole."""
        return ~_any([reject.rows for reject in self.rejects], self.frame.height)


def coerce(table: RawTable, page: pl.DataFrame) -> CoercedPage:
    """The page in the catalogue's types: catalogue columns in order, unknown ones after them as text.

    Columns that the page lacks are null. A record without id or cursor is rejected. A page's own time of loading
    is typed too and is not unknown.
    """
    columns: list[pl.Series] = []
    rejects: list[Reject] = []
    rounded: list[Reject] = []
    repaired = _repaired(page)
    if repaired:
        page = page.with_columns(pl.col(pl.String).str.replace_all("\0", "", literal=True))
    types = table.types | ({SYNCED: ColumnType.TIMESTAMP} if SYNCED in page.columns else {})
    for name, type_ in types.items():
        if name in page.columns:
            columns.append(_coerced(page[name], type_, rejects, rounded))
        else:
            columns.append(pl.Series(name, [], dtype=type_.polars).extend_constant(None, page.height))
    typed = {column.name: column for column in columns}
    for name in (table.id_column, table.cursor):
        _require(typed[name], page[name] if name in page.columns else typed[name], rejects)
    if rounded and rejects:
        fit = ~_any([reject.rows for reject in rejects], page.height)
        rounded = [replace(cut, rows=cut.rows & fit) for cut in rounded if (cut.rows & fit).any()]
    unknown = sorted(set(page.columns) - set(types))
    columns += [as_text(page[name]) for name in unknown]
    return CoercedPage(
        frame=pl.DataFrame(columns),
        rejects=tuple(rejects),
        rounded=tuple(rounded),
        unknown_columns=tuple(unknown),
        missing_columns=tuple(name for name in table.types if name not in page.columns),
        repaired=repaired,
    )


def _coerced(given: pl.Series, type_: ColumnType, rejects: list[Reject], rounded: list[Reject]) -> pl.Series:
    """A column in its type. What does not fit, or fits only rounded, is added to the lists."""
    values = _cast(given, type_).alias(given.name)
    if values.null_count() == given.null_count():
        return values
    lost = given.is_not_null() & values.is_null()
    if type_ is not ColumnType.STRING and given.dtype == pl.String:
        lost &= given.str.strip_chars() != ""
    if type_ is ColumnType.CURRENCY and lost.any():
        values = _with_rounded(values, given, lost)
        cut = lost & values.is_not_null()
        lost &= values.is_null()
        if cut.any():
            rounded.append(Reject(given.name, _ROUNDED, cut, as_text(given)))
    if lost.any():
        rejects.append(Reject(given.name, f"is not {_WHAT[type_]}", lost, as_text(given)))
    return values


def _require(values: pl.Series, given: pl.Series, rejects: list[Reject]) -> None:
    """Reject the records that lack a value which each must have."""
    name = values.name
    if values.dtype == pl.String and len(values) <= FEW and all(text and text.strip() for text in values):
        return
    absent = values.is_null() if values.dtype != pl.String else values.fill_null("").str.strip_chars() == ""
    if absent.any():
        absent &= ~_any([reject.rows for reject in rejects if reject.column == name], len(values))
    if absent.any():
        rejects.append(Reject(name, "is missing", absent, as_text(given)))


def _repaired(page: pl.DataFrame) -> dict[str, int]:
    # Nearly always there are none, which one look tells.
    texts = page.select(pl.col(pl.String))
    if page.height <= FEW:
        is_odd = any("\0" in text or "\ufffd" in text for column in texts for text in column if text)
    else:
        is_odd = any(column.any() for column in texts.select(pl.all().str.contains_any(_ODD).any()))
    if not is_odd:
        return {}
    odd = [pl.col(pl.String).str.contains(character, literal=True) for character in _ODD]
    nul, replaced = (page.select(holds) for holds in odd)
    counts = {column.name: int((column | replaced[column.name]).sum()) for column in nul}
    return {name: count for name, count in counts.items() if count}


def as_text(values: pl.Series) -> pl.Series:
    """The values as text that :func:`coerce` reads back without loss: ISO dates, UTC timestamps, plain decimals.

    Nested values are JSON. A null member counts like an absent one there, since whether a page has it depends on
    the page's other records.
    """
    dtype = values.dtype
    if dtype == pl.String:
        return values
    if isinstance(dtype, pl.Datetime):
        digits = 9 if dtype.time_unit == "ns" else 6
        return _in_utc(values).dt.strftime(f"%Y-%m-%dT%H:%M:%S%.{digits}f+0000")
    if dtype.is_nested() or dtype in (pl.Object, pl.Null, pl.Binary, pl.Duration):
        return pl.Series(values.name, [_text_of(value) for value in values.to_list()], dtype=pl.String)
    return values.cast(pl.String)


def _text_of(value: object) -> str | None:
    if isinstance(value, dict | list):
        return json.dumps(_without_nulls(value), ensure_ascii=False, sort_keys=True, default=str)
    return None if value is None else str(value)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


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
    if values.is_finite().all():
        return values
    return values.set(values.is_nan() | values.is_infinite(), None)


def _to_boolean(values: pl.Series) -> pl.Series:
    if values.dtype != pl.String:
        return _nothing(values, ColumnType.BOOLEAN)
    is_true = values == "true"
    if (is_true | (values == "false")).all():
        return is_true
    text = values.str.strip_chars().str.to_lowercase()
    return text.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)


def _to_double(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        number = _finite(text.cast(pl.Float64, strict=False))
        whole = text.str.contains(r"^[+-]?[0-9]+$")
        exact = (text.cast(pl.Int128, strict=False).abs() <= _EXACT_IN_DOUBLE).fill_null(False)
        return number.set((whole & ~exact).fill_null(False), None)
    if values.dtype.is_integer():
        return values.cast(pl.Float64).set(values.cast(pl.Int128).abs() > _EXACT_IN_DOUBLE, None)
    if values.dtype.is_numeric():
        return _finite(values.cast(pl.Float64))
    return _nothing(values, ColumnType.DOUBLE)


def _to_integer(values: pl.Series) -> pl.Series:
    if values.dtype.is_integer():
        return values.cast(pl.Int64, strict=False)
    if values.dtype == pl.String:
        number = values.cast(pl.Int64, strict=False)
        if number.null_count() == values.null_count():
            return number
        whole = _plain(values).str.extract(r"^\+?(-?[0-9]+)(?:\.0*)?$", 1)
        return whole.cast(pl.Int64, strict=False)
    if values.dtype.is_decimal():
        return _to_integer(values.cast(pl.String))
    if values.dtype.is_float():
        number = values.cast(pl.Float64)
        whole = (number == number.floor()) & (number.abs() < _EXACT_IN_DOUBLE)
        return number.set(~whole.fill_null(True), None).cast(pl.Int64, strict=False)
    return _nothing(values, ColumnType.INTEGER)


def _to_currency(values: pl.Series) -> pl.Series:
    target = ColumnType.CURRENCY.polars
    assert isinstance(target, pl.Decimal)
    if values.dtype == pl.String:
        amount = _plain(values).str.replace(r"(\.[0-9]{1,6})0*$", "${1}").str.replace(r"\.$", "")
        return amount.str.extract(r"^\+?(-?0*[0-9]{1,18}(?:\.[0-9]{1,6})?)$", 1).cast(target, strict=False)
    if values.dtype.is_integer():
        return values.set(values.cast(pl.Int128).abs() >= _CURRENCY_LIMIT, None).cast(target, strict=False)
    if isinstance(values.dtype, pl.Decimal):
        precision, scale = values.dtype.precision or 38, values.dtype.scale
        if scale <= target.scale and precision - scale <= target.precision - target.scale:
            return values.cast(target)
        return _to_currency(values.cast(pl.String))
    if values.dtype.is_float():
        # A floating point number is read by its shortest text: 0.1 is ten cents.
        return _to_currency(values.set(values.abs() >= _CENTS_IN_DOUBLE, None).cast(pl.String))
    return _nothing(values, ColumnType.CURRENCY)


def _with_rounded(amounts: pl.Series, given: pl.Series, lost: pl.Series) -> pl.Series:
    """The amounts with those filled in, of ``lost``, that are amounts once they are rounded to six decimals."""
    if given.dtype.is_float():
        given = given.set(given.abs() >= _CENTS_IN_DOUBLE, None)
    texts = as_text(given).str.strip_chars()
    found = [_rounded(text) if is_lost else None for text, is_lost in zip(texts, lost, strict=True)]
    return amounts.zip_with(~lost, pl.Series(found, dtype=amounts.dtype))


def _rounded(text: str | None) -> Decimal | None:
    """A number to six decimals, half of one away from zero as databases do; None where it is no amount."""
    if text is None or not _NUMBER.fullmatch(text):
        return None
    amount = Decimal(text)
    if abs(amount) >= _CURRENCY_LIMIT:
        return None
    amount = amount.quantize(_MICRO, ROUND_HALF_UP, _MANY_DIGITS)
    return amount if abs(amount) < _CURRENCY_LIMIT else None


def _plain(texts: pl.Series) -> pl.Series:
    """Numbers digit by digit, without exponent: Salesforce writes large ones as 1.2E13. Other texts are null."""
    texts = texts.str.strip_chars()
    plain = texts.str.contains(_PLAIN_NUMBER).fill_null(True)
    if plain.all():
        return texts
    rest = [None if is_plain else _without_exponent(text) for text, is_plain in zip(texts, plain, strict=True)]
    return texts.zip_with(plain, pl.Series(rest, dtype=pl.String))


def _without_exponent(text: str) -> str | None:
    return f"{Decimal(text):f}" if _NUMBER.fullmatch(text) else None


def _to_date(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        if (days := _by_arrow(values, _DAY, pa.date32())) is not None:
            return days
        text = values.str.strip_chars()
        is_day = text.str.contains(_DAY).fill_null(True)
        days = text.str.to_date("%Y-%m-%d", strict=False, exact=True)
        return days if is_day.all() else days.zip_with(is_day, _to_date(_to_timestamp(text)))
    if isinstance(values.dtype, pl.Datetime):
        instant = _to_timestamp(values)
        midnight = (instant.dt.truncate("1d") == instant).fill_null(False)
        return instant.dt.date().set(~midnight, None)
    return _nothing(values, ColumnType.DATE)


def _to_timestamp(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        if (instants := _by_arrow(values, _SALESFORCE_INSTANT, pa.timestamp("us", "UTC"))) is not None:
            return instants
        # This brings JSON (…T…+0000), Bulk CSV (…Z) and Fivetran's exports (a space, no offset: UTC) to one form.
        # A day alone is its midnight, as it is where the source hands over dates, a minute alone its beginning.
        text = (
            values.str.strip_chars()
            .str.replace(_DAY, "${0}T00:00:00")
            .str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
            .str.replace(r"T(\d:)", "T0${1}")
            .str.replace(r" ?(?:[zZ]|UTC)$", "+0000")
            .str.replace(r" ([+-][\d:]+)$", "${1}")
            .str.replace(r"(T\d{2}:\d{2})([+-].*)?$", "${1}:00${2}")
            .str.replace(r"(T[\d:.]+)$", "${1}+0000")
            .str.replace(r"([+-]\d{2}):?(\d{2})$", "${1}${2}")
            .str.replace(r"(:[\d.]+[+-]\d{2})$", "${1}00")
        )
        instants = text.str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False, exact=True
        )
        return instants.set(~text.str.contains(_INSTANT).fill_null(True), None)
    if isinstance(values.dtype, pl.Datetime):
        instants = _in_utc(values)
        exact = instants.dt.cast_time_unit("us")
        return exact.set((exact.dt.cast_time_unit(values.dtype.time_unit) != instants).fill_null(False), None)
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return _nothing(values, ColumnType.TIMESTAMP)


def _by_arrow(values: pl.Series, form: str, type_: pa.DataType) -> pl.Series | None:
    """Texts that are all written in one form, as Arrow reads them; None where one is not, or stands for nothing.

    Arrow reads times and days many times as fast.
    """
    if not values.str.contains(form).all():
        return None
    try:
        return pl.Series(values.name, pc.cast(values.to_arrow(), type_))
    except pa.ArrowInvalid:
        return None


def _in_utc(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    assert isinstance(dtype, pl.Datetime)
    return values.dt.replace_time_zone("UTC") if dtype.time_zone is None else values.dt.convert_time_zone("UTC")


_CASTS: dict[ColumnType, Callable[[pl.Series], pl.Series]] = {
    ColumnType.BOOLEAN: _to_boolean,
    ColumnType.INTEGER: _to_integer,
    ColumnType.DOUBLE: _to_double,
    ColumnType.CURRENCY: _to_currency,
    ColumnType.DATE: _to_date,
    ColumnType.TIMESTAMP: _to_timestamp,
}
