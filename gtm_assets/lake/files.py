"""How the lake's files are named, and how they are written so that a crash leaves each of them whole or absent."""

from __future__ import annotations

import errno
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import GtmError

PARTITION_DIR = "partition={}"
MONTH_DIR = "month={}"
LIST = ".batches.json"
"""Ending of the list beside a merged file, in place of the file's own."""


class LakeError(GtmError):
    """The lake can't be read or written. The message names the table, the partition and what to do."""


@dataclass(frozen=True)
class Batch:
    """What one landing brought, and the file that holds it: alone, or with other batches of its month."""

    table: str
    """``source.table``."""
    partition: str
    batch_id: str
    path: Path


# -- names ------------------------------------------------------------------------------------------------------


def partition_in(path: Path) -> str:
    """The key of the partition in whose folder a file lies."""
    return path.parent.name.removeprefix(PARTITION_DIR.format(""))


def table_of(path: Path) -> str:
    """``source.table`` of a batch's file."""
    return f"{path.parts[-4]}.{path.parts[-3]}"


def is_merged(path: Path) -> bool:
    """Whether a file holds batches that a compaction merged."""
    return path.parent.name.startswith(MONTH_DIR.format(""))


def with_ending(path: Path, ending: str) -> Path:
    """The file of the same name with another ending. A list's ending has two dots."""
    return path.with_name(path.name.split(".")[0] + ending)


def list_of(path: Path) -> Path:
    """The list of the batches that a merged file holds."""
    return with_ending(path, LIST)


def by_file(batches: Iterable[Batch]) -> dict[Path, list[Batch]]:
    """The batches by the file that holds them."""
    files: dict[Path, list[Batch]] = defaultdict(list)
    for batch in batches:
        files[batch.path].append(batch)
    return dict(files)


# -- reading ----------------------------------------------------------------------------------------------------


def read_list(path: Path) -> dict[str, str]:
    """The batches that a merged file holds: partition key by batch id.

    Raises:
        LakeError: the list can't be read.
    """
    rows = map(json.loads, list_of(path).read_text().splitlines())
    try:
        return {row["batch_id"]: row["partition_key"] for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{table_of(path)}: the list of batches {list_of(path)} can't be read ({error}). "
            f"Restore it from a backup"
        ) from error


def fault(path: Path) -> Exception | None:
    """Why a Parquet file can't be read, or None where it can."""
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        return error
    return None


def is_torn(error: Exception) -> bool:
    """Whether the file itself is at fault. Faults of the disk or of the folder's rights have an error number."""
    return getattr(error, "errno", None) is None


# -- writing ----------------------------------------------------------------------------------------------------


def into_place(temporary: Path, final: Path) -> None:
    """Give a finished file its name, durably. The caller holds the table's lock."""
    _sync(temporary)
    temporary.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file whole in place of an older one, or remove it where the frame is empty."""
    if frame.is_empty():
        path.unlink()
        return
    temporary = path.with_name(f".{path.stem}.tmp")
    try:
        frame.write_parquet(temporary)
        into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def explaining(table: RawTable, partition: str) -> Iterator[None]:
    """Turn the operating system's errors into sentences. Nothing has landed when one is raised.

    Raises:
        LakeError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "The disk is full: free space and run again; nothing of the partition was landed"
        else:
            advice = "Check that the folder can be written, then run again; nothing of the partition was landed"
        raise LakeError(f"{table.qualified_name} {partition}: {error}. {advice}.") from error
