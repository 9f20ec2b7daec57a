"""Which versions there are: a version of a record is identified by one hash of all its source columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import polars as pl

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.coerce import FEW, CoercedPage
from gtm_assets.lake.columns import unhashed_columns

HASH = "_version_hash"


def version_hash(frame: pl.DataFrame) -> pl.Series:
    """One md5 per record over all its columns by name; a null counts like an absent column.

    So neither the order of columns nor a new, still empty one makes a new version. Timestamps count as
    microseconds since 1970, amounts without the zeros that their type adds but for those of two decimals (100.00):
    so what an older release landed with two decimals keeps its hash.
    """
    texts = frame.select([_as_text(name, type_) for name, type_ in sorted(frame.schema.items())])
    return md5(_joined_few(texts) if texts.height <= FEW else _joined_many(texts))


def _as_text(name: str, type_: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(type_, pl.Datetime):
        return column.dt.epoch("us").cast(pl.String)
    if isinstance(type_, pl.Decimal):
        return column.cast(pl.String).str.replace(r"(\.[0-9]{2}[0-9]*?)0+$", "${1}")
    return column.cast(pl.String)


# A record's text is ``name=length:text`` of each column that is not null, the length in bytes: so no text can pass
# for two columns.


def _joined_few(texts: pl.DataFrame) -> list[bytes]:
    """The texts of few records: Polars takes longer to plan the other way than this takes."""
    names = [f"{name}=".encode() for name in texts.columns]
    return [
        b"".join(
            [
                b"%b%d:%b" % (name, len(text), text)
                for name, text in zip(names, row, strict=True)
                if text is not None
            ]
        )
        for row in texts.cast(pl.Binary).iter_rows()
    ]


def _joined_many(texts: pl.DataFrame) -> list[bytes]:
    """The texts of many records, put together by column."""
    lengths = texts.select(pl.all().str.len_bytes())
    nulls, shortest, longest = texts.null_count().row(0), lengths.min().row(0), lengths.max().row(0)
    pieces = []
    for name, absent, least, most in zip(texts.columns, nulls, shortest, longest, strict=True):
        column = pl.col(name)
        # Most ids, times and flags of a page are of one length.
        if least == most:
            parts = [pl.lit(f"{name}={least}:"), column]
        else:
            parts = [pl.lit(f"{name}="), column.str.len_bytes().cast(pl.String), pl.lit(":"), column]
        if absent < texts.height:
            pieces += [pl.concat_str(parts)] if absent else parts
    if not pieces:
        return [b""] * texts.height
    joined = texts.select(pl.concat_str(pieces, ignore_nulls=True)).to_series()
    return joined.cast(pl.Binary).to_list()


def md5(texts: Iterable[bytes]) -> pl.Series:
    """The md5 of each text, in hexadecimal digits."""
    # Polars' own hash changes between its versions.
    digests = [hashlib.md5(text, usedforsecurity=False).digest() for text in texts]
    return pl.Series("hash", digests, dtype=pl.Binary).bin.encode("hex")


def with_hash(table: RawTable, frame: pl.DataFrame) -> pl.DataFrame:
    """The records with their version hash in ``_version_hash``."""
    apart = unhashed_columns(table)
    hashed = frame.select(name for name in frame.columns if name not in apart)
    return frame.hstack([version_hash(hashed).alias(HASH)])


def versions_of(table: RawTable, page: CoercedPage) -> pl.DataFrame:
    """The records of a page that fit, each with its version hash, each version once."""
    frame = page.frame.filter(page.fits) if page.rejects else page.frame
    frame = with_hash(table, frame)
    if frame[HASH].n_unique() == frame.height:
        return frame
    return frame.unique(HASH, keep="first", maintain_order=True)


def without(frame: pl.DataFrame, known: Iterable[pl.Series]) -> pl.DataFrame:
    """The versions whose hash is in none of ``known``."""
    for hashes in known:
        if frame.height and len(hashes):
            frame = frame.join(hashes.to_frame(HASH), on=HASH, how="anti")
    return frame


class WrittenHashes:
    """The hashes of the versions that one landing has written so far.

    Memory holds 16 bytes for each, and a look-up of a page costs no more when there are many.
    """

    def __init__(self) -> None:
        """No hashes yet."""
        self._halves = [pl.Series([], dtype=pl.UInt64), pl.Series([], dtype=pl.UInt64)]
        self._last: pl.Series | None = None

    def add(self, hashes: pl.Series) -> None:
        """Take the hashes of versions that were written."""
        self._absorb_last()
        # Most landings have one page, and then nothing is ever looked up.
        self._last = hashes

    def _absorb_last(self) -> None:
        if self._last is not None:
            for half, more in zip(self._halves, _as_numbers(self._last), strict=True):
                half.append(more)
            self._last = None

    def absent_of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The versions whose hash is not among these."""
        self._absorb_last()
        if self._halves[0].is_empty():
            return frame
        wanted = _as_numbers(frame[HASH])
        # The page is what is looked up in: it is the smaller one.
        there = self._halves[0].is_in(wanted[0].implode())
        if not there.any():
            return frame
        found = pl.DataFrame([half.filter(there).alias(f"half_{n}") for n, half in enumerate(self._halves)])
        keys = pl.DataFrame([half.alias(f"half_{n}") for n, half in enumerate(wanted)]).with_row_index("row")
        return frame[keys.join(found, on=found.columns, how="anti", maintain_order="left")["row"].to_list()]


def _as_numbers(hashes: pl.Series) -> list[pl.Series]:
    return [hashes.str.slice(low, 16).str.to_integer(base=16, dtype=pl.UInt64) for low in (0, 16)]
