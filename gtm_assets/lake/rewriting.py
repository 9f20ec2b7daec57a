"""Rewriting what has landed so that nothing of it identifies those who were erased.

A row stays, with its id, instants, references and amounts; its personal fields become null, and its version's hash
is made anew: the lake is then as if these fields had always been null. Two things follow from that. Versions that
are equal now are one, the one that was known first. And a version that only our reading of a personal field has
made goes: one whose cursor is ours (of an export, of a full extraction, just after another of the same instant)
and whose content is that of the version before it.

Each file is written beside its place and replaces the old one whole. Done again, this changes nothing more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.coerce import coerce
from gtm_assets.lake.columns import LOADER_COLUMNS, unhashed_columns
from gtm_assets.lake.erased import Erased
from gtm_assets.lake.files import MONTH_DIR, PARTITION_DIR, Batch, by_file, partition_in
from gtm_assets.lake.hashes import HASH, version_hash, with_hash
from gtm_assets.lake.quarantine import RECORD_HASH, Rejects, from_json, to_json
from gtm_assets.lake.reader import LakeReader
from gtm_assets.lake.selections import ignored_in_quarantine
from gtm_assets.partitions import end_of
from gtm_assets.place import Place

_ROWS = 122_880
"""So many rows of a file are in memory at a time."""
_FITS_NOW = "what did not fit is erased: gtm quarantine retry lands it"


@dataclass
class Rewriting:
    """What rewriting one table did, or would do."""

    table: RawTable
    records: set[str] = field(default_factory=set)
    """Ids of the records that held something."""
    versions: int = 0
    """Versions that lost a value."""
    removed: int = 0
    """Versions that differed from another by personal fields alone."""
    quarantined: int = 0
    """Records in quarantine that lost a value."""
    files: list[str] = field(default_factory=list)
    """Those that were rewritten."""
    cells: Counter[str] = field(default_factory=Counter)
    """By column the values that are gone."""

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.files)


def rewrite(reader: LakeReader, table: RawTable, erased: Erased, is_dry: bool = False) -> Rewriting:
    """Rewrite the files of a table. The caller holds the table's lock; with ``is_dry`` nothing is written."""
    done = Rewriting(table)
    if not erased:
        return done
    if not is_dry:
        _clear_up(reader, table)
    files = by_file(reader.batches(table))
    for held in files.values():
        reader.verify(held[0])
    quarantine = reader.quarantine(table).files()
    ids = _concerned(table, files, quarantine, erased)
    if not is_dry:
        erased.keep_found()
    plan = _plan(table, files, erased, ids)
    for path in plan:
        _rewrite_file(reader, table, path, plan[path], erased, done, is_dry)
    for path in quarantine:
        _rewrite_quarantine(table, path, erased, done, is_dry)
    if not is_dry:
        _leave_once(table, quarantine)
    return done


def _clear_up(reader: LakeReader, table: RawTable) -> None:
    """Remove what a killed landing or compaction left, and empty files that were put aside as unreadable.

    The name of such a file keeps its batch id taken.
    """
    for folder in (PARTITION_DIR.format("*"), MONTH_DIR.format("*")):
        for leftover in reader.table_workshop(table).glob(f"{folder}/.*.tmp"):
            leftover.unlink()
        for aside in place.found(reader.table_dir(table), f"{folder}/*.unreadable"):
            place.replace(aside, "")


def pages_of(path: Place) -> Iterator[pl.DataFrame]:
    """The rows of a batch file, some at a time, each with its number."""
    with pq.ParquetFile(place.opened(path)) as file:
        for part in file.iter_batches(_ROWS):
            frame = pl.from_arrow(pa.Table.from_batches([part]))
            assert isinstance(frame, pl.DataFrame)
            yield frame


def _concerned(
    table: RawTable, files: Mapping[Place, Sequence[Batch]], quarantine: Sequence[Place], erased: Erased
) -> set[object]:
    """The ids of the records that an erasure concerns. One found on the way may lead to others."""
    ids: set[object] = set()
    while True:
        known = sum(map(len, erased.found.values()))
        for path in files:
            for page in pages_of(path):
                seen = erased.seen(page)
                ids |= set(page[table.id_column].filter(seen.concerned | seen.touched).to_list())
        for path in quarantine:
            erased.seen(from_json(pl.read_parquet(place.opened(path))["record"]))
        if sum(map(len, erased.found.values())) == known:
            return ids - {None}


@dataclass
class _Change:
    """What becomes of one file: its rows by number."""

    hashes: dict[int, str] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)


def _plan(
    table: RawTable, files: Mapping[Place, Sequence[Batch]], erased: Erased, ids: set[object]
) -> dict[Place, _Change]:
    """The files with rows that lose a value or go, and these rows."""
    if not ids:
        return {}
    changes: dict[Place, _Change] = {}
    versions: list[pl.DataFrame] = []
    wanted = pl.Series(list(ids))
    for number, (path, held) in enumerate(files.items()):
        partitions = {batch.batch_id: batch.partition for batch in held}
        first = 0
        for page in pages_of(path):
            rows = pl.int_range(first, first + page.height, eager=True)
            first += page.height
            mine = page[table.id_column].is_in(wanted.cast(page[table.id_column].dtype).implode()).fill_null(False)
            some, rows = page.filter(mine), rows.filter(mine)
            if some.is_empty():
                continue
            seen = erased.seen(some)
            hashed = _hashed(table, seen.page)
            changed = {
                row: hash_ for row, hash_, touched in zip(rows, hashed[HASH], seen.touched, strict=True) if touched
            }
            if changed:
                changes.setdefault(path, _Change()).hashes.update(changed)
            versions.append(
                pl.DataFrame(
                    {
                        "id": seen.page[table.id_column].cast(pl.String),
                        "cursor": seen.page[table.cursor].cast(pl.Datetime("us", "UTC")),
                        "deleted": seen.page[table.deletes.value].fill_null(False),
                        "hash": hashed[HASH],
                        "content": hashed["content"],
                        "known_at": seen.page["_known_at"].cast(pl.Datetime("us", "UTC")),
                        "partition": seen.page["_batch_id"].replace_strict(partitions, return_dtype=pl.String),
                        "batch": seen.page["_batch_id"],
                        "file": [number] * some.height,
                        "row": rows,
                    }
                )
            )
    paths = list(files)
    for number, row in _superfluous(table, pl.concat(versions)) if versions else ():
        changes.setdefault(paths[number], _Change()).dropped.add(row)
    return changes


def _hashed(table: RawTable, rows: pl.DataFrame) -> pl.DataFrame:
    """The hash of each row's version as a landing would make it, and that of its content without the cursor."""
    records = coerce(table, rows.drop(set(LOADER_COLUMNS) - set(table.types), strict=False)).frame
    content = version_hash(records.drop({table.cursor, *unhashed_columns(table)}, strict=False))
    return with_hash(table, records).select(HASH).with_columns(content.alias("content"))


def _superfluous(table: RawTable, versions: pl.DataFrame) -> list[tuple[int, int]]:
    """The file's number and the row of each version that nothing tells from another any more."""
    found: list[tuple[int, int]] = []
    cursor_is_ours = not next(c for c in table.columns if c.name == table.cursor).api_name
    # One hash stays where it was known first.
    by_knowledge = versions.sort("known_at", "partition", "batch", "file", "row", maintain_order=True)
    once = by_knowledge.unique(["id", "hash"], keep="first", maintain_order=True)
    again = by_knowledge.join(once.select("file", "row"), on=["file", "row"], how="anti")
    found += list(again.select("file", "row").iter_rows())
    before: tuple[object, object] = (None, None)
    for id_, cursor, content, partition, file, row in (
        once.sort("id", "cursor", "partition", "deleted", "hash")
        .select("id", "cursor", "content", "partition", "file", "row")
        .iter_rows()
    ):
        if before == (id_, content) and (cursor_is_ours or _is_made(cursor, partition)):
            found.append((file, row))
        else:
            before = (id_, content)
    return found


def _is_made(cursor: datetime | None, partition: str) -> bool:
    """Whether we made a version's cursor: sources stamp in whole milliseconds, a full extraction at the end."""
    return cursor is not None and (cursor.microsecond % 1000 != 0 or cursor == end_of(partition))


def _rewrite_file(
    reader: LakeReader,
    table: RawTable,
    path: Place,
    change: _Change,
    erased: Erased,
    done: Rewriting,
    is_dry: bool,
) -> None:
    temporary = reader.table_workshop(table) / path.parent.name / f".{path.name}.erased.tmp"
    if not is_dry:
        place.make_folder(temporary.parent)
    schema = pq.read_schema(place.opened(path))
    repeated = [name for name in schema.names if name not in (table.id_column, HASH)]
    writer = None if is_dry else pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=repeated)
    try:
        first = 0
        for page in pages_of(path):
            rows = pl.int_range(first, first + page.height, eager=True)
            first += page.height
            seen = erased.seen(page)
            done.records |= set(page[table.id_column].filter(seen.touched).cast(pl.String).to_list())
            done.versions += int(seen.touched.sum())
            done.cells.update(seen.cells)
            hashes = [change.hashes.get(row, old) for row, old in zip(rows, page[HASH], strict=True)]
            kept = seen.page.with_columns(pl.Series(HASH, hashes, dtype=pl.String))
            kept = kept.filter(~rows.is_in(pl.Series([*change.dropped], dtype=pl.Int64).implode()))
            if writer is not None:
                writer.write_table(kept.select(schema.names).to_arrow().cast(schema))
        if writer is not None:
            writer.close()
            place.put_over(temporary, path)
    finally:
        if writer is not None and writer.is_open:
            writer.close()
        temporary.unlink(missing_ok=True)
    done.removed += len(change.dropped)
    done.files.append(str(path))


def _rewrite_quarantine(table: RawTable, path: Place, erased: Erased, done: Rewriting, is_dry: bool) -> None:
    """Records in quarantine: whole, as text, and the reason with the value that did not fit."""
    waiting = pl.read_parquet(place.opened(path))
    records = from_json(waiting["record"])
    seen = erased.seen(records)
    if not seen.touched.any():
        return
    done.quarantined += int(seen.touched.sum())
    done.cells.update(seen.cells)
    done.files.append(str(path))
    if is_dry:
        return
    ignored, rewritten = ignored_in_quarantine(table), []
    for row, old in enumerate(waiting.iter_rows(named=True)):
        if not seen.touched[row]:
            rewritten.append(waiting[row])
            continue
        # A record that lacks a column is not one that has it empty.
        had = json.loads(old["record"])
        record = seen.page[row].select(name for name in seen.page.columns if name in had)
        rejects = Rejects(table, old["_known_at"], ignored)
        rejects.take(record, coerce(table, record), old["_batch_id"])
        again = rejects.records
        if again.is_empty():
            text = to_json(record)[0]
            again = waiting[row].with_columns(record=pl.lit(text), reason=pl.lit(_FITS_NOW))
        rewritten.append(again.select(waiting.columns))
    place.replace_frame(path, pl.concat(rewritten))


def _leave_once(table: RawTable, quarantine: Sequence[Place]) -> None:
    """Of records in quarantine that are equal now the first stays, where a landing would have kept no other."""
    seen: dict[str, set[str]] = {}
    for path in quarantine:
        if not place.exists(path):
            continue
        waiting = pl.read_parquet(place.opened(path))
        # An export brings each record again: there it waits where it came first.
        there = seen.setdefault("" if table.is_taken_whole else partition_in(path), set())
        kept = waiting.filter(~waiting[RECORD_HASH].is_in(pl.Series([*there], dtype=pl.String).implode()))
        kept = kept.unique(RECORD_HASH, keep="first", maintain_order=True)
        there.update(kept[RECORD_HASH])
        if kept.height < waiting.height:
            place.replace_frame(path, kept)
