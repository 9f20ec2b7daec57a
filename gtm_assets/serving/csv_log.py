"""The records of a PostgreSQL server's CSV log, of which the last may still be under way.

Source: PostgreSQL's documentation, Using CSV-Format Log Output.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

FEWEST, MOST = 23, 30
"""So many fields a record has, whatever the version. More are those of two, of which the first was cut off."""
_BEGIN = re.compile(r'^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^,"\n]+,"(?:[^"]|"")+",)', re.MULTILINE)
"""Where a record of a login begins. Within a field quotes are doubled, so that no statement can look so."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+")


@dataclass(frozen=True)
class Record:
    """A message of the log."""

    at: str
    """As the server writes it, with its time zone."""
    login: str
    database: str
    address: str
    session: str
    line: int
    """Its number in its session."""
    command: str
    severity: str
    code: str
    message: str
    statement: str
    application: str

    @classmethod
    def of(cls, fields: list[str]) -> Self | None:
        """The record of a line's fields; None where they are none."""
        if not FEWEST <= len(fields) <= MOST or not _TIME.fullmatch(fields[0]) or not fields[6].isdigit():
            return None
        return cls(
            at=fields[0],
            login=fields[1],
            database=fields[2],
            address=fields[4],
            session=fields[5],
            line=int(fields[6]),
            command=fields[7],
            severity=fields[11],
            code=fields[12],
            message=fields[13],
            statement=fields[19],
            application=fields[22],
        )


@dataclass(frozen=True)
class Part:
    """What a part of a log file holds."""

    records: list[Record]
    size: int
    """So many bytes are read; what follows is not whole yet."""
    damaged: int
    """Lines that are no records."""


def part_of(data: bytes, is_last: bool) -> Part:
    """The records of a part of a log file, which begins with a whole one.

    ``is_last`` says that nothing more will be written behind it: what is not whole then was cut off.
    """
    size = len(data) if is_last else _whole(data)
    records, damaged = [], 0
    for fields in _rows(data[:size].decode("utf-8", "replace")):
        record = Record.of(fields)
        if record is None:
            damaged += 1
        else:
            records.append(record)
    return Part(records, size, damaged)


def _whole(data: bytes) -> int:
    """Up to where the data hold whole records: a line's end outside of quotes."""
    quotes, end = data.count(b'"'), len(data)
    while (line_end := data.rfind(b"\n", 0, end)) >= 0:
        quotes -= data.count(b'"', line_end, end)
        if quotes % 2 == 0:
            return line_end + 1
        end = line_end
    return 0


def _rows(text: str) -> Iterator[list[str]]:
    """The fields of each record. Where a line was cut off, what follows is read from the next that begins one."""
    # A statement may be longer than a field is by Python's default.
    csv.field_size_limit(sys.maxsize)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if all(Record.of(row) for row in rows):
        yield from rows
        return
    for piece in _BEGIN.split(text):
        yield from (row for row in csv.reader(io.StringIO(piece, newline="")) if row)
