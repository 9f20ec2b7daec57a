"""Columns from arrays: each builder gives a Polars series of the catalogue's type for its kind of value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Floats, Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER, unix_day

STRING = pl.String()
_NOT_A_TIME = np.iinfo(np.int64).min


def text(values: Sequence[str | None] | pl.Series, which: Ints, null: Flags | None = None) -> pl.Series:
    """``values[which]``: picklist values and names; null where ``null``."""
    pool = values if isinstance(values, pl.Series) else pl.Series(values, dtype=pl.String)
    return nulled(pool.gather(pl.Series(which.astype(np.uint32))), null)


def constant(value: str | bool | None, n: int, dtype: pl.DataType | None = None) -> pl.Series:
    """The same value n times."""
    return pl.repeat(value, n, dtype=dtype, eager=True)


def nulled(series: pl.Series, null: Flags | None) -> pl.Series:
    """The series with nulls where ``null``."""
    if null is None or not null.any():
        return series
    return series.zip_with(pl.Series(~null), pl.Series([None], dtype=series.dtype))


def flag(values: Flags) -> pl.Series:
    """Booleans."""
    return pl.Series(values.astype(bool))


def integer(values: Ints, null: Flags | None = None) -> pl.Series:
    """Whole numbers."""
    return nulled(pl.Series(values.astype(np.int64)), null)


def number(values: Floats | Ints, null: Flags | None = None) -> pl.Series:
    """Doubles."""
    return nulled(pl.Series(np.asarray(values, np.float64)), null)


def money(cents: Ints, null: Flags | None = None) -> pl.Series:
    """Currency from whole cents."""
    words = np.empty((len(cents), 2), np.int64)
    words[:, 0] = np.asarray(cents, np.int64) * 10_000
    words[:, 1] = words[:, 0] >> 63
    buffers = [None, pa.py_buffer(words.tobytes())]
    array = pa.Array.from_buffers(pa.decimal128(24, 6), len(cents), buffers)
    return nulled(pl.Series(pl.from_arrow(array)), null)


def day(days: Ints, null: Flags | None = None) -> pl.Series:
    """Dates from the org's days."""
    return nulled(pl.Series(unix_day(days).astype(np.int32)).cast(pl.Date), null)


def moment(instants: Ints, null: Flags | None = None) -> pl.Series:
    """Timestamps from instants; null where the instant is NEVER."""
    missing = instants >= NEVER if null is None else null | (instants >= NEVER)
    # Polars takes NumPy's "not a time" for null.
    micros = np.where(missing, _NOT_A_TIME, np.where(missing, 0, instants).astype(np.int64) * 1_000_000)
    return pl.Series(micros.view("datetime64[us]")).dt.replace_time_zone("UTC")
