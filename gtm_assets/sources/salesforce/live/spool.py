"""Pages on their way: what an extraction downloads waits on disk, validated, until it is whole.

A page is one Arrow file of text columns, written while it arrives, so memory holds a block of it. A page that
comes short or torn leaves nothing.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import requests
from filelock import FileLock, Timeout

from gtm_assets.sources.salesforce.live.session import Unsettled
from gtm_assets.sources.salesforce.live.texts import Utf8

CHUNK = 1 << 20
"""Bytes read from the socket at a time: two to five times as fast as requests' default."""
_BLOCK = 4 << 20
"""Bytes of CSV parsed at a time. No record is longer."""
_PAGE_ROWS, _PAGE_BYTES = 20_000, 8 << 20
"""What a step gets at a time, at most, give or take a block."""


class SpoolRoot:
    """The folder in which extractions keep their pages. One that a killed process left is removed."""

    def __init__(self, root: Path) -> None:
        """Make a folder of our own in ``root``."""
        root.mkdir(parents=True, exist_ok=True)
        for left in root.iterdir():
            with suppress(Timeout, OSError), FileLock(left / ".lock", timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        self.path = root / uuid.uuid4().hex
        self.path.mkdir()
        self._lock = FileLock(self.path / ".lock")
        self._lock.acquire()

    def close(self) -> None:
        """Remove all pages."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


class Spool:
    """The pages of one extraction. ``rows`` counts the records of those that are whole."""

    def __init__(self, root: Path) -> None:
        """No pages yet."""
        self._folder = root / uuid.uuid4().hex
        self._pages: list[tuple[Path, int]] = []
        self._made = 0
        self.bytes = 0
        """Bytes received, unpacked; those of pages that were asked again count again."""

    @property
    def rows(self) -> int:
        """Records of all pages."""
        return sum(rows for _, rows in self._pages)

    @property
    def mark(self) -> int:
        """Where we are, for :meth:`cut`."""
        return len(self._pages)

    def cut(self, mark: int) -> None:
        """Drop the pages that came after ``mark``."""
        for path, _ in self._pages[mark:]:
            path.unlink(missing_ok=True)
        del self._pages[mark:]

    def add_csv(self, answer: requests.Response, fields: Sequence[str], expected: int | None) -> None:
        """Write a page of Bulk CSV while it arrives.

        Raises:
            Unsettled: the page has other columns, not the ``expected`` number of records, or ends in mid-record.
        """
        body = _Body(answer, self)
        schema = pa.schema([(name, pa.string()) for name in fields])
        try:
            self._add(schema, _csv_batches(body, fields), expected)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            if body.error is not None:
                raise body.error from None
            if not body.is_empty or expected:
                # Don't pass on Arrow's sentence: it quotes the record.
                raise Unsettled(f"a page of results is not whole CSV ({type(error).__name__})") from None

    def add_records(self, records: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> None:
        """Write a page of REST records: texts, flags and nulls."""
        columns = [pa.array([_text(record.get(name)) for record in records], pa.string()) for name in fields]
        batch = pa.RecordBatch.from_arrays(columns, list(fields))
        self._add(batch.schema, [batch])

    def _add(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], expected: int | None = None) -> None:
        self._folder.mkdir(exist_ok=True)
        self._made += 1
        path, rows = self._folder / f"{self._made:06d}.arrow", 0
        try:
            # Not compressed: that takes a fifth of an extraction's time, and a page is read within minutes.
            with pa.ipc.new_stream(str(path), schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    rows += batch.num_rows
            # Otherwise each thread's allocator keeps its share of the freed memory.
            pa.default_memory_pool().release_unused()
            if expected is not None and rows != expected:
                raise Unsettled(f"a page holds {rows:,} records, {expected:,} were announced")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._pages.append((path, rows))

    def pages(self) -> Iterator[pl.DataFrame]:
        """The records in pages of a step's size; what is read is gone. Columns are fields, values texts."""
        waiting: list[pa.RecordBatch] = []
        for batch in self._batches():
            waiting.append(batch)
            rows, size = sum(b.num_rows for b in waiting), sum(b.nbytes for b in waiting)
            if rows >= _PAGE_ROWS or size >= _PAGE_BYTES:
                yield _frame(waiting)
                waiting = []
                pa.default_memory_pool().release_unused()
        if waiting:
            yield _frame(waiting)
        self.discard()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while self._pages:
            path, _ = self._pages.pop(0)
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                yield from reader
            path.unlink()

    def discard(self) -> None:
        """Remove all pages."""
        self._pages.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Body:
    """The body of an answer as Arrow reads it. It keeps count of quotes, which come in pairs."""

    closed = False

    def __init__(self, answer: requests.Response, spool: Spool) -> None:
        self._answer = answer
        self._spool = spool
        self._utf_8 = Utf8()
        self._rest = bytearray()
        self._last = b""
        self._quotes = 0
        self.error: Exception | None = None

    @property
    def is_empty(self) -> bool:
        return not self._last

    @property
    def is_whole(self) -> bool:
        """Whether it ended at the end of a record."""
        return self._last == b"\n" and self._quotes % 2 == 0

    def read(self, size: int) -> bytes:
        """``size`` bytes; fewer at the end only."""
        found = self._rest
        try:
            while len(found) < size and (chunk := self._answer.raw.read(CHUNK, decode_content=True)):
                found += self._utf_8.add(chunk)
                self._spool.bytes += len(chunk)
                self._quotes += chunk.count(b'"')
                self._last = chunk[-1:]
        except Exception as error:
            # Arrow wraps what is raised here.
            self.error = error
            raise
        if len(found) < size:
            found += self._utf_8.add(b"", is_last=True)
        given = bytes(memoryview(found)[:size])
        self._rest = found[size:]
        return given

    def close(self) -> None:
        self.closed = True


def _csv_batches(body: _Body, fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
    reader = pa.csv.open_csv(
        body,
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        # A null and an empty text look alike; both are null, as they are in the other API.
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(fields, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    if reader.schema.names != list(fields):
        raise Unsettled("a page of results has other columns than were asked for")
    for batch in reader:
        yield _without_blank_rows(batch)
    if not body.is_whole:
        raise Unsettled("a page of results ends in mid-record")


def _without_blank_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that hold something."""
    if not batch.num_rows or not all(column.null_count for column in batch.columns):
        return batch
    return batch.filter(reduce(pc.or_, map(pc.is_valid, batch.columns)))


def _frame(batches: Sequence[pa.RecordBatch]) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else str(value)
