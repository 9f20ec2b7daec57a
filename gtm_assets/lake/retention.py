"""Letting go of versions that have been superseded for long, of tables of which no history is kept.

A version goes where a newer one of its record was known by a given instant. What is known as of that instant, or
of any later one, is then what it was; what was known as of an earlier one can't be told any more. The newest
version of each record always stays. Of versions with one cursor none goes: which of them is newer may depend on
where they lie.

Each file is written beside its place and replaces the old one whole, and the batches stay listed. Done again, this
changes nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow.parquet as pq

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.files import Batch, by_file
from gtm_assets.lake.hashes import HASH
from gtm_assets.lake.reader import LakeReader
from gtm_assets.lake.rewriting import pages_of
from gtm_assets.place import Place


@dataclass(frozen=True)
class Retention:
    """What was let go of in one table."""

    table: RawTable
    versions: int
    files: int


def retain(reader: LakeReader, table: RawTable, before: datetime, is_dry: bool = False) -> Retention:
    """Let go of the versions that were superseded before an instant. The caller holds the table's lock.

    With ``is_dry`` nothing is written.
    """
    files = by_file(reader.batches(table))
    for held in files.values():
        reader.verify(held[0])
    superseded = _superseded(table, files, before)
    marked = {path: _rows_of(table, path, superseded) for path in files}
    going = {path: rows for path, rows in marked.items() if any(some.any() for some in rows)}
    if going and not is_dry:
        # First: where the process is ended, nothing is taken for whole that is not.
        reader.marks(table).retain(before)
        for path, rows in going.items():
            _rewrite(reader, table, path, rows)
    return Retention(table, sum(int(some.sum()) for rows in going.values() for some in rows), len(going))


def _superseded(table: RawTable, files: Mapping[Place, Sequence[Batch]], before: datetime) -> pl.DataFrame:
    """The ids and cursors of versions behind one that was known by ``before``."""
    pages = [_keys(table, page) for path in files for page in pages_of(path)]
    if not pages:
        return pl.DataFrame(schema={"id": pl.String, "cursor": pl.Datetime("us", "UTC")})
    versions = pl.concat(pages).filter(pl.col("id").is_not_null(), pl.col("cursor").is_not_null())
    reached = (
        versions.filter(pl.col("known_at") <= before).group_by("id").agg(pl.col("cursor").max().alias("reached"))
    )
    behind = versions.join(reached, on="id").filter(pl.col("cursor") < pl.col("reached"))
    return behind.select("id", "cursor").unique()


def _keys(table: RawTable, page: pl.DataFrame) -> pl.DataFrame:
    return page.select(
        pl.col(table.id_column).cast(pl.String).alias("id"),
        pl.col(table.cursor).cast(pl.Datetime("us", "UTC")).alias("cursor"),
        pl.col("_known_at").cast(pl.Datetime("us", "UTC")).alias("known_at"),
    )


def _rows_of(table: RawTable, path: Place, superseded: pl.DataFrame) -> list[pl.Series]:
    """Of each page of a file, which rows go."""
    marked = superseded.with_columns(pl.lit(True).alias("goes"))
    return [
        _keys(table, page)
        .join(marked, on=["id", "cursor"], how="left", maintain_order="left")["goes"]
        .fill_null(False)
        for page in pages_of(path)
    ]


def _rewrite(reader: LakeReader, table: RawTable, path: Place, going: Sequence[pl.Series]) -> None:
    temporary = reader.table_workshop(table) / path.parent.name / f".{path.name}.retained.tmp"
    place.make_folder(temporary.parent)
    schema = pq.read_schema(place.opened(path))
    repeated = [name for name in schema.names if name not in (table.id_column, HASH)]
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=repeated) as writer:
            for page, goes in zip(pages_of(path), going, strict=True):
                writer.write_table(page.filter(~goes).select(schema.names).to_arrow().cast(schema))
        place.put_over(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
