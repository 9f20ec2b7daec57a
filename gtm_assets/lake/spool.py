"""The file that a landing writes beside its final place, page by page."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gtm_assets.catalog.raw_table import ColumnType, RawTable
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.lake.hashes import HASH


class Spool:
    """A Parquet file that grows page by page beside its final place.

    Columns that the catalogue does not know may first show up on a later page; then the pages before are copied
    with the column as null.
    """

    def __init__(self, path: Path, table: RawTable) -> None:
        """The file ``path`` for versions of ``table``. Nothing is written yet."""
        self._path, self._id_column = path, table.id_column
        self._fields = {name: LOADER_COLUMNS.get(name, type_).arrow for name, type_ in table.types.items()}
        self._unknown: list[str] = []
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Append the versions of one page."""
        if frame.is_empty():
            return
        known = {*self._fields, *LOADER_COLUMNS, *self._unknown}
        fresh = [name for name in frame.columns if name not in known]
        if fresh:
            self._widen(fresh)
        schema = self._schema()
        if self._writer is None:
            self._writer = self._open(self._path, schema)
        absent = [pl.lit(None, pl.String()).alias(n) for n in self._unknown if n not in frame.columns]
        whole = frame.with_columns(absent) if absent else frame
        self._writer.write_table(whole[schema.names].to_arrow().cast(schema))

    def close(self, empty_too: bool) -> Path | None:
        """The finished file; None where nothing was written and an empty one is not wanted."""
        if self._writer is None and empty_too:
            self._writer = self._open(self._path, self._schema())
        if self._writer is None:
            return None
        self._writer.close()
        return self._path

    def discard(self) -> None:
        """Leave nothing beside the final place."""
        if self._writer is not None and self._writer.is_open:
            # On a full disk the end of the file can't be written either.
            with suppress(OSError):
                self._writer.close()
        self._path.unlink(missing_ok=True)
        self._narrow_path.unlink(missing_ok=True)

    @property
    def _narrow_path(self) -> Path:
        return self._path.with_suffix(".narrow.tmp")

    def _schema(self) -> pa.Schema:
        loader = {name: type_.arrow for name, type_ in LOADER_COLUMNS.items() if name not in self._fields}
        unknown = dict.fromkeys(sorted(self._unknown), ColumnType.STRING.arrow)
        return pa.schema([*self._fields.items(), *unknown.items(), *loader.items()])

    def _open(self, path: Path, schema: pa.Schema) -> pq.ParquetWriter:
        # A dictionary of values that differ in each row is made and then thrown away.
        repeated = [name for name in schema.names if name not in (self._id_column, HASH)]
        return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated)

    def _widen(self, fresh: list[str]) -> None:
        self._unknown += fresh
        if self._writer is None:
            return
        self._writer.close()
        narrow = self._path.rename(self._narrow_path)
        schema = self._schema()
        self._writer = self._open(self._path, schema)
        with pq.ParquetFile(narrow) as file:
            for group in range(file.num_row_groups):
                part = file.read_row_group(group)
                for name in fresh:
                    part = part.append_column(name, pa.nulls(part.num_rows, pa.string()))
                self._writer.write_table(part.select(schema.names).cast(schema))
        narrow.unlink()
