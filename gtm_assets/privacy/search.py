"""Looking for what identifies a person in every file: whatever its format, its texts are read, and its bytes too.

What is looked for stands alone there: ``ann@acme.example`` is not found in ``joann@acme.example``, nor the name
``Ann Lee`` in ``Ann Leeson``. Case does not count.
"""

from __future__ import annotations

import gzip
import html
import json
import mmap
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gtm_assets import place
from gtm_assets.engines.files import literal, log_path
from gtm_assets.errors import GtmError
from gtm_assets.place import Place

_PARQUET, _SQLITE, _GZIP = b"PAR1", b"SQLite format 3\0", b"\x1f\x8b"
_DUCKDB = b"DUCK"
"""From the ninth byte of a DuckDB file."""
_MANY = 2000
"""Rows of a database that are looked at a time."""


class SearchError(GtmError):
    """A file can't be searched, so that nothing is proven. The message names it and says what to do."""


@dataclass(frozen=True)
class Hit:
    """Where something was found."""

    place: str
    """The file."""
    where: str
    """Where in it, in words."""

    def __str__(self) -> str:
        """The file and where in it."""
        return f"{self.place} ({self.where})"


class Wanted:
    """What is looked for."""

    def __init__(self, values: Iterable[str]) -> None:
        """``values`` are addresses, names and numbers."""
        self.values = sorted({value for value in values if value}, key=lambda value: (-len(value), value))
        shapes = "|".join(_alone(shape) for value in self.values for shape in _shapes(value))
        self._texts = re.compile(shapes or r"(?!)", re.IGNORECASE)
        self._bytes = re.compile((shapes or r"(?!)").encode(), re.IGNORECASE)

    def __bool__(self) -> bool:
        """Whether anything is looked for."""
        return bool(self.values)

    def in_text(self, text: str) -> bool:
        """Whether it stands in a text."""
        return self._texts.search(text) is not None

    def in_bytes(self, content: bytes | mmap.mmap) -> bool:
        """Whether it stands in the bytes of a file."""
        return self._bytes.search(content) is not None

    def masked(self, text: str) -> str:
        """The text with as many asterisks in its place."""
        return self._texts.sub(lambda found: "*" * len(found[0]), text)

    def spans(self, content: bytes | mmap.mmap) -> list[tuple[int, int]]:
        """Where it stands in the bytes of a file: begin and end."""
        return [found.span() for found in self._bytes.finditer(content)]


def _shapes(value: str) -> list[str]:
    """How a value may be written: as it is, in JSON, in SQL, in HTML. In bytes case counts but for ASCII."""
    cases = [value] if value.isascii() else [value, value.title(), value.upper()]
    return list(
        dict.fromkeys(
            shape
            for one in cases
            for shape in (one, json.dumps(one)[1:-1], one.replace("'", "''"), html.escape(one))
        )
    )


def _alone(shape: str) -> str:
    escaped = re.escape(shape)
    if "@" in shape:
        return rf"(?<![\w.+%-]){escaped}(?![\w-]|\.\w)"
    return rf"(?<![\w-]){escaped}(?![\w-])"


# -- files ------------------------------------------------------------------------------------------------------


def files_below(folders: Iterable[Path], without: Callable[[Path], bool]) -> list[Path]:
    """All files below some folders, each once; not those that ``without`` names."""
    found: dict[Path, None] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and not without(path):
                found.setdefault(path.resolve())
    return list(found)


def look_in(path: Path, wanted: Wanted) -> list[Hit]:
    """Where in a file something stands; it is read by its format, and as bytes.

    Raises:
        SearchError: the file is of a format that can be read, and can't be.
    """
    try:
        beginning = _beginning(path)
    except FileNotFoundError:
        return []
    hits = []
    if beginning is None:
        return []
    if beginning.startswith(_PARQUET):
        hits += _in_parquet(path, path, wanted)
    elif beginning[8:12] == _DUCKDB:
        hits += _in_duckdb(path, wanted)
    elif beginning.startswith(_SQLITE):
        hits += _in_sqlite(path, wanted)
    elif beginning.startswith(_GZIP):
        hits += _in_gzip(path, wanted)
    with suppress(FileNotFoundError), path.open("rb") as file, _mapped(file.fileno()) as content:
        if wanted.in_bytes(content):
            hits.append(Hit(str(path), "its bytes"))
    return hits


def look_in_bucket(path: Place, wanted: Wanted) -> list[Hit]:
    """Where in a file of a bucket something stands."""
    assert not isinstance(path, Path)
    content: bytes = path.fs.cat_file(path.path)
    hits = _in_parquet(path, BytesIO(content), wanted) if content.startswith(_PARQUET) else []
    return [*hits, *([Hit(str(path), "its bytes")] if wanted.in_bytes(content) else [])]


def _beginning(path: Path) -> bytes | None:
    """The first bytes of a file; None where there are none."""
    with path.open("rb") as file:
        return file.read(16) or None


def _mapped(descriptor: int) -> mmap.mmap:
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _in_parquet(name: Place, source: Path | BytesIO, wanted: Wanted) -> list[Hit]:
    try:
        with pq.ParquetFile(source) as file:
            hits: dict[str, None] = {}
            for part in file.iter_batches():
                for column, values in zip(part.schema.names, part.columns, strict=True):
                    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                        texts = values.unique().to_pylist()
                        if any(text is not None and wanted.in_text(text) for text in texts):
                            hits.setdefault(f"column {column}")
            return [Hit(str(name), where) for where in hits]
    except (pa.ArrowException, OSError) as error:
        raise SearchError(
            f"{name} can't be searched ({error}), so it is not proven that nothing is left. "
            "Restore or remove it, then run: gtm erase --replay"
        ) from error


def _in_duckdb(path: Path, wanted: Wanted) -> list[Hit]:
    hits = []
    try:
        with duckdb.connect() as connection:
            # For writing where there is a log: what a killed process had only logged is looked at too.
            option = "" if log_path(path).exists() else "(read_only)"
            connection.execute(f"attach {literal(path)} as searched {option}")
            columns = connection.execute(
                "select schema_name, table_name, column_name from duckdb_columns()"
                " where database_name = 'searched' and not internal"
                " and (schema_name, table_name) in (select (schema_name, table_name) from duckdb_tables()"
                " where database_name = 'searched') and data_type like '%VARCHAR%'"
            ).fetchall()
            for schema, table, column in columns:
                result = connection.execute(
                    f'select distinct cast("{column}" as varchar) from searched."{schema}"."{table}"'
                    f' where "{column}" is not null'
                )
                while rows := result.fetchmany(_MANY):
                    if any(wanted.in_text(text) for (text,) in rows):
                        hits.append(Hit(str(path), f"{schema}.{table}, column {column}"))
                        break
    except duckdb.Error as error:
        raise SearchError(
            f"{path} can't be searched ({error}), so it is not proven that nothing is left. "
            "Close it where it is open, or remove it, then run: gtm erase --replay"
        ) from error
    return hits


def sqlite_cells(connection: sqlite3.Connection, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """The tables and columns of a SQLite database in which something stands."""
    connection.create_function("stands_in", 1, lambda text: _stands_in(text, wanted), deterministic=True)
    tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
    for (table,) in tables:
        for _, column, *_rest in connection.execute(f'pragma table_info("{table}")').fetchall():
            found = connection.execute(
                f'select 1 from "{table}" where "{column}" is not null and stands_in("{column}") limit 1'
            ).fetchone()
            if found:
                yield table, column


def _stands_in(value: object, wanted: Wanted) -> bool:
    if isinstance(value, bytes):
        return wanted.in_bytes(value)
    return isinstance(value, str) and wanted.in_text(value)


def _in_sqlite(path: Path, wanted: Wanted) -> list[Hit]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as connection:
            return [
                Hit(str(path), f"table {table}, column {column}")
                for table, column in sqlite_cells(connection, wanted)
            ]
    except sqlite3.Error as error:
        raise SearchError(
            f"{path} can't be searched ({error}), so it is not proven that nothing is left. "
            "Stop what has it open, then run: gtm erase --replay"
        ) from error


def _in_gzip(path: Path, wanted: Wanted) -> list[Hit]:
    try:
        with gzip.open(path) as file:
            return [Hit(str(path), "its text")] if wanted.in_bytes(file.read()) else []
    except (OSError, EOFError) as error:
        raise SearchError(
            f"{path} can't be searched ({error}), so it is not proven that nothing is left. "
            "Remove it, then run: gtm erase --replay"
        ) from error


def look_everywhere(
    folders: Iterable[Path], lake: Place, wanted: Wanted, without: Callable[[Path], bool]
) -> tuple[int, list[Hit]]:
    """Search all files below some folders and in the lake. Gives how many were searched, and where it stands."""
    files = files_below([*folders, *([lake] if isinstance(lake, Path) else [])], without)
    hits = [hit for path in files for hit in look_in(path, wanted)]
    if isinstance(lake, Path):
        return len(files), hits
    # A key of the lake lies up to three levels below its root, and one more in quarantine.
    kept = [key for depth in range(1, 6) for key in place.found(lake, "/".join("*" * depth))]
    hits += [hit for key in kept for hit in look_in_bucket(key, wanted)]
    return len(files) + len(kept), hits
