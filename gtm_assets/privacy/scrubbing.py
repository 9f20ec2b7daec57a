"""Taking what identifies a person out of logs and records of runs: asterisks stand in its place.

Such files tell what happened, which stays. A text is overwritten where it stands, so that a process that writes to
the file goes on doing so.
"""

from __future__ import annotations

import gzip
import mmap
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gtm_assets.privacy.search import SearchError, Wanted, sqlite_cells

_SQLITE, _GZIP = b"SQLite format 3\0", b"\x1f\x8b"


def scrub(paths: Sequence[Path], wanted: Wanted) -> list[Path]:
    """Overwrite in files what stands in them; gives those that had something.

    Raises:
        SearchError: a file can't be read or written.
    """
    changed = []
    for path in paths:
        try:
            with path.open("rb") as file:
                beginning = file.read(16)
            if beginning.startswith(_SQLITE):
                done = _scrub_sqlite(path, wanted)
            elif beginning.startswith(_GZIP):
                done = _scrub_gzip(path, wanted)
            else:
                done = bool(beginning) and _scrub_text(path, wanted)
        except FileNotFoundError:
            continue
        except (OSError, EOFError, sqlite3.Error) as error:
            raise SearchError(
                f"{path} can't be cleaned ({error}). Stop what has it open, or remove it; then run: "
                "gtm erase --replay"
            ) from error
        if done:
            changed.append(path)
    return changed


def _scrub_text(path: Path, wanted: Wanted) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        spans = wanted.spans(content)
    if not spans:
        return False
    with path.open("r+b") as written:
        for begin, end in spans:
            written.seek(begin)
            written.write(b"*" * (end - begin))
        written.flush()
        os.fsync(written.fileno())
    return True


def _scrub_gzip(path: Path, wanted: Wanted) -> bool:
    content = bytearray(gzip.decompress(path.read_bytes()))
    spans = wanted.spans(bytes(content))
    for begin, end in spans:
        content[begin:end] = b"*" * (end - begin)
    if spans:
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(gzip.compress(bytes(content)))
        temporary.replace(path)
    return bool(spans)


def _scrub_sqlite(path: Path, wanted: Wanted) -> bool:
    def masked(value: str | bytes | float | None) -> str | bytes | float | None:
        if isinstance(value, bytes):
            content = bytearray(value)
            for begin, end in wanted.spans(value):
                content[begin:end] = b"*" * (end - begin)
            return bytes(content)
        return wanted.masked(value) if isinstance(value, str) else value

    with closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.create_function("masked", 1, masked, deterministic=True)
        cells = list(sqlite_cells(connection, wanted))
        for table, column in cells:
            connection.execute(
                f'update "{table}" set "{column}" = masked("{column}")'
                f' where "{column}" is not null and stands_in("{column}")'
            )
        connection.commit()
        # What was overwritten, or deleted at any time before, lies in free pages and in the log until then.
        is_left = any(one.exists() and wanted.in_bytes(one.read_bytes()) for one in _files_of(path))
        if cells or is_left:
            connection.execute("vacuum")
            connection.execute("pragma wal_checkpoint(truncate)")
        return bool(cells) or is_left


def _files_of(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + ending) for ending in ("-wal", "-journal"))]
