"""What a file that people hand us is, and its rows as text.

What can be read without a doubt is read: UTF-8 with or without a mark, UTF-16 with one; values separated by
commas, semicolons, tabs or pipes, with or without Excel's line ``sep=``. A row that holds nothing is no row, nor
is the header where it comes again. All else is refused, with what the file is and what to do about it: a row with
too few or too many values, too.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import polars as pl

from gtm_assets.errors import GtmError

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_ENCODINGS = (
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF8, "utf-8", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_PLAIN = (b"", "utf-8", "UTF-8")
_OTHER_FILES = (
    (b"\x1f\x8b", "compressed by gzip", "Unpack it (gunzip)"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old kind (.xls)", "Open it and save the sheet as CSV UTF-8"),
    (b"%PDF", "a PDF", "Export it again as CSV UTF-8"),
    (b"PAR1", "a Parquet file", "Write it as CSV UTF-8"),
    (b"<", "a page of HTML or XML, such as a login page", "Export it again, signed in, as CSV UTF-8"),
    (b"{", "JSON", "Export it again as CSV UTF-8"),
    (b"[", "JSON", "Export it again as CSV UTF-8"),
)
_DECLARES = re.compile(r'"?sep=([^"\r\n])"? *(?:\r\n|\r|\n)', re.IGNORECASE)
_HOLDS_SOMETHING = re.compile(r'[^\s,;|"]')
_CHUNK_ROWS = 100_000
_HEADER_CHARACTERS = 1_000_000


class NotCsv(GtmError):
    """The file is not what can be read. The message says what it is, and what to do; the caller names the file."""


@dataclass(frozen=True)
class CsvFile:
    """The rows of a file."""

    rows: pl.DataFrame
    """All values as text, columns by the file's headers."""
    line_of: Callable[[int], int]
    """The line in which a row ends, by the row's number from 0."""
    how: str
    """How the file was read, where not as commas in UTF-8: a few words, else empty."""
    headers_again: int
    """How often the header comes again among the rows."""
    ends_with_newline: bool


def read(content: bytes, lacking: Callable[[Collection[str]], Collection[str]]) -> CsvFile:
    """The rows of a file's content. ``lacking`` names the columns that a header must have and these don't.

    Raises:
        NotCsv: it is another kind of file, or can't be read without a doubt.
    """
    text, encoding = _decoded(content)
    declared, body = _declared(text)
    if not _HOLDS_SOMETHING.search(body):
        raise NotCsv("is empty, without even a header. Export it again as CSV UTF-8")
    delimiter = declared or _delimiter(body, lambda header: not lacking(header))
    first_line = 2 if declared else 1
    line, values = next(_records(body, delimiter, first_line))
    header = _header(line, values)
    if lacks := lacking(header):
        raise NotCsv(
            f"has no column {', '.join(lacks)}, without which its rows can't be told apart; its first row (line "
            f"{line}) is {_shown(header, 200)}. Remove what stands above the headers, or give the columns their "
            f"English names"
        )
    differences = (
        [] if delimiter == "," else [f"values separated by {_DELIMITERS.get(delimiter, repr(delimiter))}"]
    )
    differences += [] if encoding == "UTF-8" else [f"text in {encoding}"]

    def lines() -> Iterator[int]:
        found = islice(_records(body, delimiter, first_line), 1, None)
        return (line for line, values in found if not _is_again(header, values))

    try:
        rows, headers_again = _rows(body, delimiter, header)
    except (_Ragged, csv.Error):
        # Only now it is worth finding out where.
        _refuse_ragged(_records(body, delimiter, first_line), header)
        raise
    return CsvFile(
        rows=rows,
        line_of=lambda row: next(islice(lines(), row, None)),
        how=" and ".join(differences),
        headers_again=headers_again,
        ends_with_newline=text.endswith(("\n", "\r")),
    )


def _header(line: int, names: list[str]) -> list[str]:
    """The header's names. Those at its end that are empty don't count."""
    names = [name.strip() for name in names]
    while not names[-1]:
        names.pop()
    for number, name in enumerate(names, 1):
        if not name:
            raise NotCsv(f"has no header for its column {number} (line {line}). Give the column a name")
        if names.count(name) > 1:
            raise NotCsv(f"has two columns {name!r} (line {line}). Rename or remove one of them")
    return names


def _shown(values: list[str], length: int) -> str:
    """Values in a sentence, without what a terminal would take for a command."""
    return "".join(filter(str.isprintable, ", ".join(values)))[:length]


def _is_again(header: list[str], values: list[str]) -> bool:
    """Whether a row is the header once more, as where files were put one after the other."""
    return [value.strip(" \ufeff") for value in values[: len(header)]] == header


def _decoded(content: bytes) -> tuple[str, str]:
    """The text and the name of its encoding."""
    if content.startswith(b"PK\x03\x04"):
        if b"[Content_Types].xml" in content[:4096] or b"xl/" in content:
            raise NotCsv(
                "is an Excel workbook (.xlsx), whatever its name. Open it and save the sheet as CSV UTF-8"
            )
        raise NotCsv("is a ZIP archive, whatever its name. Unpack it")
    for begins, what, advice in _OTHER_FILES:
        if content.removeprefix(codecs.BOM_UTF8).lstrip().startswith(begins):
            raise NotCsv(f"is {what}, whatever its name. {advice}")
    mark, codec, encoding = next((e for e in _ENCODINGS if content.startswith(e[0])), _PLAIN)
    begins = content[:4096]
    if not mark and begins.count(0) * 4 > len(begins):
        in_one_half, in_other = sorted(begins[first::2].count(0) for first in (0, 1))
        if in_other > 4 * in_one_half:
            raise NotCsv("looks like UTF-16 without a mark that says so. Save it as CSV UTF-8")
        raise NotCsv("is damaged, or no CSV at all: it is full of NUL bytes. Put the whole file there")
    content = content.removeprefix(mark)
    try:
        return content.decode(codec), encoding
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        if error.reason in ("unexpected end of data", "truncated data"):
            raise NotCsv(
                f"ends within a character (line {line}): it was cut short, or is still being written. Put the "
                f"whole file there"
            ) from None
        if codec != "utf-8":
            raise NotCsv(f"is no whole {encoding} (line {line}). Save it as CSV UTF-8") from None
        raise NotCsv(
            f"can't be read as CSV in UTF-8: the byte 0x{content[error.start]:02x} in line {line} is of another "
            f"encoding, such as Windows-1252, and which one can't be told. Save it as CSV UTF-8"
        ) from None


def _declared(text: str) -> tuple[str | None, str]:
    """The separator that Excel's first line ``sep=;`` names, and the text after it; else None and the text."""
    declares = _DECLARES.match(text)
    return (declares[1], text[declares.end() :]) if declares else (None, text)


def _delimiter(text: str, is_header: Callable[[Collection[str]], bool]) -> str:
    """What separates the values: that by which the first row is the table's header, else the most frequent one."""
    headers: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        try:
            _, headers[delimiter] = next(_records(text[:_HEADER_CHARACTERS], delimiter))
        except (NotCsv, StopIteration):
            continue
    # A header of one column is separated by anything; then commas do.
    fitting = [d for d, header in headers.items() if is_header([name.strip() for name in header])]
    if fitting:
        return max(fitting, key=lambda delimiter: len(headers[delimiter]))
    return max(headers, key=lambda delimiter: len(headers[delimiter]), default=",")


def _reader(text: str, delimiter: str) -> Any:
    csv.field_size_limit(sys.maxsize)
    # Values are stripped in the end; quotes after a space are quotes.
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)


def _rows(text: str, delimiter: str, header: list[str]) -> tuple[pl.DataFrame, int]:
    """The rows that hold something, and how often the header is among them: there it is left out.

    What is beyond the header's columns is left out where it is empty.
    """
    width, schema = len(header), dict.fromkeys(header, pl.String)
    chunks, reader = [pl.DataFrame(schema=schema)], _reader(text, delimiter)
    next(row for row in reader if any(map(str.strip, row)))
    while chunk := list(islice(reader, _CHUNK_ROWS)):
        if {*map(len, chunk)} != {width}:
            chunk = [row for row in chunk if any(map(str.strip, row))]
            if any(len(row) < width or any(map(str.strip, row[width:])) for row in chunk):
                raise _Ragged
        columns = zip(header, zip(*chunk, strict=False), strict=False) if chunk else ()
        chunks.append(pl.DataFrame({name: pl.Series(cells, dtype=pl.String) for name, cells in columns}, schema))
    rows = pl.concat(chunks).filter(pl.any_horizontal(pl.all().str.strip_chars() != ""))
    is_again = pl.all_horizontal(pl.col(name).str.strip_chars(" \ufeff") == name for name in header)
    records = rows.filter(~is_again)
    return records, rows.height - records.height


class _Ragged(GtmError):
    """A row has not as many values as the header has columns."""


def _records(text: str, delimiter: str, first_line: int = 1) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold something, the header first, each with the line in which it ends."""
    reader, begins = _reader(text, delimiter), first_line
    try:
        for values in reader:
            ends = first_line + reader.line_num - 1
            if any(map(str.strip, values)):
                yield ends, values
            begins = ends + 1
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise NotCsv(
                f"can't be read as CSV: a text in quotes that begins in line {begins} does not end. The file was "
                f"cut short, or is still being written: put the whole file there"
            ) from None
        raise NotCsv(
            f"can't be read as CSV: line {begins} has a quote within a text in quotes ({error}). Such a quote is "
            f'written twice (""): export it again as CSV UTF-8'
        ) from None


def _refuse_ragged(records: Iterator[tuple[int, list[str]]], header: list[str]) -> None:
    """Refuse the first row with other than as many values as the header has names."""
    width = len(header)
    next(records)
    for line, values in records:
        if len(values) >= width and not any(map(str.strip, values[width:])):
            continue
        advice = "Complete the row, or export the file again as CSV UTF-8"
        if len(values) > width:
            advice = "A text that holds the separator is written in quotes: export the file again as CSV UTF-8"
        elif next(records, None) is None:
            advice = "It was cut short, or is still being written: put the whole file there"
        raise NotCsv(
            f"can't be read as CSV: line {line} has {len(values)} values ({_shown(values, 80)}), and the "
            f"header {width} columns ({', '.join(header)}). {advice}"
        )
