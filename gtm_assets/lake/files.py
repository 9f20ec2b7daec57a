"""How the lake's files are named, and how they are written so that a crash leaves each of them whole or absent."""

from __future__ import annotations

import errno
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import BucketError, LakeError
from gtm_assets.place import Place

PARTITION_DIR = "partition={}"
MONTH_DIR = "month={}"
LIST = ".batches.json"
"""Ending of the list beside a merged file, in place of the file's own."""


@dataclass(frozen=True)
class Batch:
    """What one landing brought, and the file that holds it: alone, or with other batches of its month."""

    table: str
    """``source.table``."""
    partition: str
    batch_id: str
    path: Place


# -- names ------------------------------------------------------------------------------------------------------


def partition_in(path: Place) -> str:
    """The key of the partition in whose folder a file lies."""
    return path.parent.name.removeprefix(PARTITION_DIR.format(""))


def table_of(path: Place) -> str:
    """``source.table`` of a batch's file."""
    return f"{path.parts[-4]}.{path.parts[-3]}"


def is_merged(path: Place) -> bool:
    """Whether a file holds batches that a compaction merged."""
    return path.parent.name.startswith(MONTH_DIR.format(""))


def with_ending(path: Place, ending: str) -> Place:
    """The file of the same name with another ending. A list's ending has two dots."""
    return path.with_name(path.name.split(".")[0] + ending)


def list_of(path: Place) -> Place:
    """The list of the batches that a merged file holds."""
    return with_ending(path, LIST)


def by_file(batches: Iterable[Batch]) -> dict[Place, list[Batch]]:
    """The batches by the file that holds them."""
    files: dict[Place, list[Batch]] = defaultdict(list)
    for batch in batches:
        files[batch.path].append(batch)
    return dict(files)


# -- reading ----------------------------------------------------------------------------------------------------


def read_list(path: Place) -> dict[str, str]:
    """The batches that a merged file holds: partition key by batch id.

    Raises:
        LakeError: the list can't be read.
    """
    rows = map(json.loads, place.text_of(list_of(path)).splitlines())
    try:
        return {row["batch_id"]: row["partition_key"] for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{table_of(path)}: the list of batches {list_of(path)} can't be read ({error}). "
            f"Restore it from a backup"
        ) from error


def fault(path: Place) -> Exception | None:
    """Why a Parquet file can't be read, or None where it can."""
    try:
        pq.read_metadata(place.opened(path))
    except (pa.ArrowException, OSError) as error:
        return error
    return None


def is_torn(error: Exception) -> bool:
    """Whether the file itself is at fault. Faults of the disk or of the folder's rights have an error number."""
    return not isinstance(error, FileNotFoundError) and getattr(error, "errno", None) is None


# -- writing ----------------------------------------------------------------------------------------------------


@contextmanager
def explaining(table: RawTable, partition: str) -> Iterator[None]:
    """Turn the operating system's errors into sentences. Nothing has landed when one is raised.

    Raises:
        LakeError: in place of an OSError; a bucket's is a sentence already, and gets the table's name.
    """
    try:
        yield
    except BucketError as error:
        if str(error).startswith(table.qualified_name):
            raise
        raise type(error)(f"{table.qualified_name} {partition}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "The disk is full: free space and run again; nothing of the partition was landed"
        else:
            advice = "Check that the folder can be written, then run again; nothing of the partition was landed"
        raise LakeError(f"{table.qualified_name} {partition}: {error}. {advice}.") from error
    except duckdb.Error as error:
        if said := place.told(error):
            raise type(said)(f"{table.qualified_name} {partition}: {said}") from error
        raise
