"""Salesforce ids, 18 characters with their checksum, made from a record's code."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints

_BASE62 = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8)
_CHECK = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", np.uint8)
_INSTANCE = b"5g00"
_DIGITS = 8
_SPACE = 62**_DIGITS
# It has no factor in common with 62, so two codes of one prefix never get the same id. It is so large that the
# ids of neighbouring codes look different.
_STEP = np.uint64(61_169)
_START = np.uint64(14_776_336_001)
HIDDEN = 10**10
"""Codes from here on belong to records that the org does not show to us."""


def ids(prefix: str | NDArray[np.bytes_], codes: Ints) -> pl.Series:
    """The 18-character id of each code (null where the code is negative).

    ``prefix`` is the object's three characters, or an ``S3`` array where the object differs from row to row.
    """
    n = len(codes)
    letters = np.empty((n, 18), np.uint8)
    if isinstance(prefix, str):
        letters[:, :3] = np.frombuffer(prefix.encode(), np.uint8)
    else:
        letters[:, :3] = np.ascontiguousarray(prefix.astype("S3")).view(np.uint8).reshape(n, 3)
    letters[:, 3:7] = np.frombuffer(_INSTANCE, np.uint8)
    rest = (np.maximum(codes, 0).astype(np.uint64) * _STEP + _START) % np.uint64(_SPACE)
    for place in range(14, 14 - _DIGITS, -1):
        tens = rest // np.uint64(62)
        letters[:, place] = _BASE62[(rest - tens * np.uint64(62)).astype(np.intp)]
        rest = tens
    letters[:, 15:] = _checksum(letters[:, :15])
    return _text(letters, codes >= 0)


def _checksum(letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One letter for each five characters: it says which of them are capitals."""
    capital = (letters >= ord("A")) & (letters <= ord("Z"))
    weights = np.array([1, 2, 4, 8, 16], np.uint8)
    checksum: NDArray[np.uint8] = _CHECK[(capital.reshape(-1, 3, 5) * weights).sum(axis=2)]
    return checksum


def _text(letters: NDArray[np.uint8], valid: Flags) -> pl.Series:
    n, width = letters.shape
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int64)
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    buffers = [bitmap, pa.py_buffer(offsets.tobytes()), pa.py_buffer(letters.tobytes())]
    return pl.Series(pl.from_arrow(pa.Array.from_buffers(pa.large_string(), n, buffers)))
