"""Versions of one instant: what a source shows later counts, where a partition is landed again.

A formula field changes without a new time of change. A partition that is landed while it is open, and then
again, meets such a record with one cursor and two contents, and no order of hashes says which is the present one.
So the later content becomes a version just after the other, by a microsecond. Sources stamp in whole milliseconds:
it lies before each later change, and all versions of an instant can be told by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.hashes import HASH, with_hash

JUST_AFTER = pl.duration(microseconds=1)
_AT, _CURSOR, _HASH, _GONE = "_instant", "_newest_cursor", "_newest_hash", "_newest_is_deleted"
_BESIDE = (_AT, _CURSOR, _HASH)


def columns(table: RawTable) -> list[str]:
    """The columns of landed versions that tell which one of an instant is the newest."""
    return [table.id_column, table.cursor, table.deletes.value, HASH]


def just_after_others(table: RawTable, landed: pl.DataFrame) -> pl.DataFrame:
    """Of landed versions those that stand just after another. Of an earlier partition no others matter here."""
    cursor = landed[table.cursor]
    return landed.filter(cursor != cursor.dt.truncate("1ms"))


def shown_otherwise(
    table: RawTable, versions: pl.DataFrame, landed: Sequence[pl.DataFrame], partition: str
) -> pl.DataFrame | None:
    """Of a page's versions those whose instant has another one that would count, with that one's cursor and hash.

    ``landed`` are all versions of ``partition``, which is landed again, and of earlier ones those that stand just
    after another; each with ``_partition_key``. A record of which a page has several versions is left out: such a
    source shows them all. None where there are none.
    """
    seen = [frame for frame in landed if not frame.is_empty()]
    if not seen or versions.is_empty():
        return None
    id_, cursor, mark = table.id_column, table.cursor, table.deletes.value
    at = pl.col(cursor).dt.truncate("1ms").alias(_AT)
    once = versions.filter(pl.col(id_).is_unique() & pl.col(cursor).is_not_null()).with_columns(at)
    newest = (
        pl.concat([versions.clear().select(columns(table)), *seen], how="diagonal_relaxed")
        .join(once.select(id_), on=id_, how="semi")
        .with_columns(at, pl.col(cursor).alias(_CURSOR), pl.col(HASH).alias(_HASH))
        .sort(cursor, "_partition_key", pl.col(mark).fill_null(False), HASH)
        .unique([id_, _AT], keep="last", maintain_order=True)
        .select(id_, _AT, _CURSOR, _HASH, "_partition_key", pl.col(mark).fill_null(False).alias(_GONE))
    )
    counts = (pl.col(_CURSOR) > pl.col(cursor)) | (pl.col("_partition_key") == partition)
    found = once.join(newest, on=[id_, _AT], how="inner")
    # A delete outweighs an edit of the same instant, whichever was seen first.
    edits_what_is_gone = pl.col(_GONE) & ~pl.col(mark).fill_null(False)
    found = found.filter(
        pl.col(_CURSOR) >= pl.col(cursor), pl.col(_HASH) != pl.col(HASH), counts, ~edits_what_is_gone
    )
    return None if found.is_empty() else found.drop("_partition_key", _GONE)


def just_after(table: RawTable, shown: pl.DataFrame) -> pl.DataFrame:
    """What :func:`shown_otherwise` found, just after the versions that counted. What is the same is left out."""
    as_newest = with_hash(table, shown.with_columns(pl.col(_CURSOR).alias(table.cursor)).drop(*_BESIDE, HASH))
    differing = shown.filter(as_newest[HASH] != shown[_HASH])
    later = differing.with_columns((pl.col(_CURSOR) + JUST_AFTER).alias(table.cursor))
    return with_hash(table, later.drop(*_BESIDE, HASH))
