"""Compaction: the batches of a month that is long over, merged into one file.

A merged file lies at ``month=<month>/<table>-<month>-<number>.parquet``. The list of its batches lies beside it in
``<the same>.batches.json``: one JSON object with ``batch_id`` and ``partition_key`` a line, so that batches
without rows stay known. The list is written before the file. Once a merged file lists a batch, every other file
that holds the batch (one of its own, or a merged file of a smaller number) no longer counts and may be removed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import LakeError
from gtm_assets.lake.columns import LOADER_COLUMNS, type_of
from gtm_assets.lake.files import LIST, MONTH_DIR, Batch, by_file, is_merged, list_of, with_ending
from gtm_assets.lake.reader import LakeReader
from gtm_assets.place import Place

_GROUP_ROWS = 122_880
"""Rows of a row group of a merged file: DuckDB's own measure. One thread reads one group at a time."""


@dataclass(frozen=True)
class Compaction:
    """What compacting one table did."""

    table: RawTable
    batches: int
    """Batches in the merged files that were written."""
    files_before: int
    """Files that held these batches."""
    files_after: int


def compact(reader: LakeReader, table: RawTable, keep_days: int) -> Compaction:
    """Merge the files of a table's closed months. The caller holds the table's lock."""
    merged: list[dict[Place, list[Batch]]] = []
    _clear_up(reader, table)
    for month, batches in _closed_months(reader.batches(table), keep_days).items():
        for alike in _mergeable(reader, table, batches):
            _merge(reader, table, month, alike)
            merged.append(alike)
    return Compaction(
        table=table,
        batches=sum(len(batches) for alike in merged for batches in alike.values()),
        files_before=sum(len(alike) for alike in merged),
        files_after=len(merged),
    )


def replaced(reader: LakeReader, table: RawTable) -> list[Place]:
    """The table's files that do not count any more: a merged file lists all that they hold."""
    # List files before batches, so that a file that lands in between is not taken for one that does not count.
    folder = reader.table_dir(table)
    there = [*place.found(folder, "month=*/*.parquet"), *place.found(folder, "partition=*/*.parquet")]
    counting = {batch.path for batch in reader.batches(table)}
    return [path for path in there if path not in counting]


def remove(paths: Sequence[Place]) -> None:
    """Remove replaced files. The caller holds the table's lock."""
    for path in paths:
        place.remove(path)
        # The list goes after its file: a merged file without a list is an error.
        if is_merged(path):
            place.remove(list_of(path))
        place.remove_folder_if_empty(path.parent)


def _clear_up(reader: LakeReader, table: RawTable) -> None:
    """Remove what a killed compaction left. Lists of files that were put aside keep their ids taken."""
    for leftover in reader.table_workshop(table).glob(f"{MONTH_DIR.format('*')}/.*.tmp"):
        leftover.unlink()
    for path in place.found(reader.table_dir(table), f"{MONTH_DIR.format('*')}/*{LIST}"):
        if not any(place.exists(with_ending(path, ending)) for ending in (".parquet", ".unreadable")):
            place.remove(path)


def _closed_months(batches: Sequence[Batch], keep_days: int) -> dict[str, list[Batch]]:
    """The batches by month, of the months that are closed."""
    if not batches:
        return {}
    first_kept = date.fromisoformat(batches[-1].partition) - timedelta(keep_days)
    months: dict[str, list[Batch]] = defaultdict(list)
    for batch in batches:
        # A month is closed once the next one starts no later than the first day that keeps its own files.
        next_month = (date.fromisoformat(batch.partition[:7] + "-01") + timedelta(31)).replace(day=1)
        if next_month <= first_kept:
            months[batch.partition[:7]].append(batch)
    return months


def _mergeable(reader: LakeReader, table: RawTable, batches: list[Batch]) -> list[dict[Place, list[Batch]]]:
    """The files of a month, those together whose columns have equal types, where there are several.

    A file is never split: so a merged file of a greater number holds all that one of a smaller number held.
    """
    alike: dict[frozenset[tuple[str, str]], dict[Place, list[Batch]]] = defaultdict(dict)
    for path, held in by_file(batches).items():
        reader.verify(held[0])
        schema = pq.read_schema(place.opened(path))
        odd = {(f.name, str(f.type)) for f in schema if f.type != type_of(table, f.name)}
        alike[frozenset(odd)][path] = held
    return [group for group in alike.values() if len(group) > 1]


def _merge(reader: LakeReader, table: RawTable, month: str, merged: Mapping[Place, Sequence[Batch]]) -> None:
    """Write a merged file and its list into the month's folder, the list first."""
    folder = reader.table_dir(table) / MONTH_DIR.format(month)
    workshop = reader.table_workshop(table) / folder.name
    place.make_folder(folder)
    place.make_folder(workshop)
    taken = [int(path.name.split(".")[0].rpartition("-")[2]) for path in place.found(folder, "*")]
    path = folder / f"{table.name}-{month}-{max(taken, default=-1) + 1:04d}.parquet"
    temporary = workshop / f".{path.stem}.tmp"
    listing = workshop / f".{path.stem}.list.tmp"
    try:
        _write_merged(list(merged), temporary, table)
        lines = [
            json.dumps({"batch_id": batch.batch_id, "partition_key": batch.partition})
            for batch in sorted((b for held in merged.values() for b in held), key=lambda b: b.batch_id)
        ]
        listing.write_text("".join(f"{line}\n" for line in lines))
        place.put_new(listing, list_of(path))
        place.put_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        listing.unlink(missing_ok=True)


def _write_merged(paths: Sequence[Place], temporary: Path, table: RawTable) -> None:
    """Write the rows of files whose columns have equal types into one. Memory holds one row group.

    Rows keep the order of their batches, so that a filter by batch or by ``_known_at`` skips row groups.
    """
    fields = {field.name: field.type for path in paths for field in pq.read_schema(place.opened(path))}
    own = [name for name in table.types if name in fields]
    loader = [name for name in LOADER_COLUMNS if name in fields and name not in own]
    schema = pa.schema([(n, fields[n]) for n in [*own, *sorted(fields.keys() - {*own, *loader}), *loader]])
    rows = 0
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        waiting: list[pa.Table] = []

        def write() -> None:
            if waiting:
                group = pa.concat_tables(waiting)
                writer.write_table(group, row_group_size=group.num_rows)
                waiting.clear()

        for path in paths:
            with pq.ParquetFile(place.opened(path)) as file:
                for part in file.iter_batches(_GROUP_ROWS):
                    piece = pa.Table.from_batches([part])
                    for name in schema.names:
                        if name not in piece.column_names:
                            piece = piece.append_column(name, pa.nulls(piece.num_rows, fields[name]))
                    waiting.append(piece.select(schema.names).cast(schema))
                    rows += piece.num_rows
                    if sum(p.num_rows for p in waiting) >= _GROUP_ROWS:
                        write()
        write()
    expected = sum(pq.read_metadata(place.opened(path)).num_rows for path in paths)
    written = pq.read_metadata(temporary).num_rows
    if not rows == written == expected:
        raise LakeError(
            f"{table.qualified_name}: {written:,} of {expected:,} rows were merged. Nothing was replaced"
        )
