"""The lake: a change log of raw records that only grows, and the only writer of ``GTM_HOME/lake``.

A batch is one immutable Parquet file, ``lake/<source>/<table>/partition=<day>/<batch id>.parquet``, written beside
its place and linked into it whole. Its columns are the catalogue's, then columns the catalogue does not know (as
text), then the loader's: ``_batch_id``, ``_known_at`` (when we saw the records), ``_fivetran_synced`` (when they
were loaded: by the lake, or by the loader that the source is a landing of) and ``_version_hash``. A version of a
record is told by that hash of all its source columns, id and cursor among them.

Compaction merges the batches of a month that is long over into ``month=<month>/<table>-<month>-<number>.parquet``
and names them in ``<the same>.batches.json`` beside it: one JSON object with ``batch_id`` and ``partition_key`` a
line, so that batches without rows stay known. The list is there before the file. Whatever else holds a batch that
a merged file lists, a file of its own or a merged file of a smaller number, counts no more and may be removed.

A partition that is still open may be landed early. An empty file ``until=<minute>Z`` beside its batches says up to
when, until it has landed to its end.

Records that do not fit wait in ``lake/quarantine/<source>/<table>/partition=<day>``, whole and as text, with the
reason. Only a retry takes them out.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir
from types import MappingProxyType

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from gtm_assets.catalog.raw_table import ColumnType, RawTable
from gtm_assets.errors import GtmError
from gtm_assets.lake.coerce import SYNCED, Misfit, TypedPage, as_text, fit
from gtm_assets.partitions import Window, end_of, partition_of
from gtm_assets.settings import HARD_DELETE_LIMIT, KEPT_DAYS

LOADER_COLUMNS: dict[str, ColumnType] = {
    SYNCED: ColumnType.TIMESTAMP,
    "_batch_id": ColumnType.STRING,
    "_known_at": ColumnType.TIMESTAMP,
    "_version_hash": ColumnType.STRING,
}
"""What the lake adds to each record."""

_QUARANTINE_SCHEMA = pl.Schema(
    {
        "record_id": pl.String(),
        "reason": pl.String(),
        "record": pl.String(),
        "_batch_id": pl.String(),
        "_known_at": pl.Datetime("us", "UTC"),
        "_record_hash": pl.String(),
    }
)
_PARTITION_DIR = "partition={}"
_MONTH_DIR = "month={}"
_LIST = ".batches.json"
"""Ending of the list beside a merged file, in place of its own."""
_GROUP_ROWS = 122_880
"""Rows of a row group of a merged file: DuckDB's own measure, of which one thread reads one at a time."""
_AHEAD = "ahead"
"""Beside a table's partitions: a file named for each partition that holds records of after its window's end.

It holds the greatest cursor of these, is written before their batch and is never removed.
"""
_OWED = "owed"
"""Beside a partition's batches: the source didn't let us read it. Holds the reason."""
_UNTIL, _UNTIL_ANY = "until=%Y-%m-%dT%H%MZ", "until=*"
"""Name of a file beside a partition's batches: the partition was landed early, up to this minute."""
_FORGOTTEN = "forgotten"
"""Beside a table's partitions: its owner has said that it is gone. Holds when."""
MISSING_ALWAYS_ALLOWED = 10
"""So many records may be missing from a snapshot whatever their share: a small table has few of them."""
_CHUNK_ROWS = 50_000
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_NEWEST = "max({'c': cursor, 'p': partition, 'd': deleted, 'h': hash})"
"""SQL: of versions the newest, ties as in base: the partition that it first came in, the delete mark, the hash."""
_COMPARED = ("_version_hash", "newest_hash", "newest_cursor")
"""What a record carries while it is compared with its newest version."""


class LakeError(GtmError):
    """The lake can't be read or written. The message names the table, the partition and what to do."""


@dataclass(frozen=True)
class Problem:
    """What ails values of one landing, so that their records went to quarantine or were rounded: one column."""

    column: str
    problem: str
    records: int
    example_id: str | None
    example_value: str | None


@dataclass(frozen=True)
class Landing:
    """What landing one partition did."""

    table: RawTable
    partition: str
    batch_id: str | None
    """The new batch; None where all versions were there already."""
    received: int
    """Records that the source returned, repeats included."""
    added: int
    """Versions that were not in the lake before."""
    quarantined: int
    """Records that went to quarantine and were not there already."""
    bytes: int
    newest_cursor: datetime | None
    problems: tuple[Problem, ...]
    rounded: tuple[Problem, ...]
    """Amounts that landed with fewer decimals than the source gave them."""
    unknown_columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    columns: dict[str, str] = field(repr=False)
    """Column name to SQL type, as landed."""
    until: datetime
    """Up to when the partition was read: its end, or the minute where it is still open."""
    is_open: bool
    """Whether the partition was still open."""
    hard_deleted: int = 0
    """Records that a snapshot no longer holds: of the versions added, those that say so."""
    repaired: Mapping[str, int] = field(default_factory=dict)
    """Column to how many of its texts held characters that are none: U+FFFD stands for them, NUL is left out."""

    def describe_repaired(self) -> str:
        """The columns with such texts and how many, in a phrase. Empty where there are none."""
        return ", ".join(f"{name} in {count:,}" for name, count in sorted(self.repaired.items()))

    def describe_problems(self) -> str:
        """What was rounded; what is in quarantine, why and what to do, in sentences. Empty where nothing is."""
        name = self.table.qualified_name
        lines = [f"{self._sentence(p)} They are rounded to six." for p in self.rounded]
        if not self.problems:
            return "\n".join(lines)
        lines += [self._sentence(p) for p in self.problems]
        folder = f"lake/quarantine/{self.table.source}/{self.table.name}/{_PARTITION_DIR.format(self.partition)}"
        lines.append(
            f"They are in quarantine ({folder}). Repaired at the source, they come back by themselves; "
            f"if our type is wrong, mend the catalogue and run: gtm quarantine retry {name}"
        )
        return "\n".join(lines)

    def _sentence(self, problem: Problem) -> str:
        example = f"{problem.example_id or 'no id'} {problem.example_value!r}"
        return (
            f"{self.table.qualified_name} {self.partition}: {problem.column} {problem.problem} in "
            f"{problem.records:,} of {self.received:,} records (first: {example})."
        )


@dataclass(frozen=True)
class Batch:
    """What one landing brought, and the file that holds it: alone, or with other batches of its month."""

    table: str
    partition: str
    batch_id: str
    path: Path


@dataclass(frozen=True)
class Compaction:
    """What compacting one table did."""

    table: RawTable
    batches: int
    """Batches in the merged files that were written."""
    files_before: int
    """Files that held these batches."""
    files_after: int


class Lake:
    """The lake under ``root``."""

    def __init__(self, root: Path) -> None:
        """The lake under ``root``, which need not exist yet."""
        self.root = root

    # -- landing ------------------------------------------------------------------------------------------------

    def land(
        self,
        table: RawTable,
        window: Window,
        pages: Iterable[pl.DataFrame],
        known_at: datetime,
        deletions: Mapping[str, datetime] = MappingProxyType({}),
    ) -> Landing:
        """Land what an extraction of ``window`` found: one new batch of the versions not seen before, or none.

        A partition that has no batch yet gets one even where nothing was found. Pages are written as they come,
        so memory holds one page. ``known_at`` is when we saw the records. The source's own errors pass through.

        ``deletions`` are ids of records that the source says are gone, each with when. One that is alive in the
        lake, and has no version of that time or later, gets a version with the delete mark set, of that time.

        Raises:
            LakeError: the disk is full, the folder can't be written, or the source returned a column that only
                the lake writes. Nothing was landed.
        """
        with self._landing(table, window):
            made = (
                _DeletionsLanding(self, table, window, known_at, deletions)
                if deletions
                else _Landing(self, table, window, known_at)
            )
            return made.run(pages)

    def land_snapshot(
        self,
        table: RawTable,
        window: Window,
        pages: Iterable[pl.DataFrame],
        known_at: datetime,
        limit: float = HARD_DELETE_LIMIT,
    ) -> Landing:
        """Land all records of a table as they are at the end of ``window``, in that partition.

        What the daily extractions could not see is found:

        - A record that is missing, and alive in the lake, gets a version with the delete mark set.
        - A record that differs from its newest version though its cursor is no later (a formula field, or one that
          was taken for deleted) gets that content as a version.

        Both are stamped with the time of their detection: their cursor is the window's end. A column that a page
        does not have tells no versions apart. Records that changed at the window's end or later are left alone, in
        the lake as in the pages: their own partition brings them. Of a table whose records never change
        (:attr:`RawTable.is_append_only`) nothing counts as deleted: the source purges old history.

        ``limit`` is the share of the live records that may be missing; ten may always be, unless they are all.

        Raises:
            LakeError: as in :meth:`land`, or more records are missing than ``limit`` allows. Nothing was landed.
        """
        with self._landing(table, window):
            return _SnapshotLanding(self, table, window, known_at, limit).run(pages)

    def land_export(
        self,
        table: RawTable,
        window: Window,
        pages: Iterable[pl.DataFrame],
        known_at: datetime,
        exported_at: datetime,
        is_snapshot: bool = False,
        limit: float = HARD_DELETE_LIMIT,
    ) -> Landing:
        """Land what is new in an export, which holds records whatever their time, in the partition of ``window``.

        New is a record that the lake does not have, or whose content is not that of its newest version; where the
        table's cursor is ours (it has no name in the source), it does not count as content. The pages' cursor is
        then ``exported_at``. A version that replaces another of the same instant gets a cursor just after it. An
        export that is older than the newest version of a record gives that record a version of its own time.

        An export may be a piece of the whole: only with ``is_snapshot`` are records that it lacks marked as
        deleted, at ``exported_at`` and within ``limit``, as in :meth:`land_snapshot`.

        Raises:
            LakeError: as in :meth:`land_snapshot`. Nothing was landed.
        """
        with self._landing(table, window):
            return _ExportLanding(self, table, window, known_at, limit, exported_at, is_snapshot).run(pages)

    def land_unreadable(self, table: RawTable, window: Window, reason: str, known_at: datetime) -> Landing:
        """Land an empty batch where there is none, for a partition that the source doesn't let us read now.

        The partition counts as landed and as owed, until it is landed.

        Raises:
            LakeError: as in :meth:`land`.
        """
        with self._landing(table, window, reason):
            return _Landing(self, table, window, known_at).run(())

    @contextmanager
    def _landing(self, table: RawTable, window: Window, owed_for: str | None = None) -> Iterator[None]:
        """One landing of a partition, and the marks that say how far it has landed.

        ``owed_for`` is why the source did not let us read it.
        """
        folder = self.partition_dir(table, window.key)
        with self._alone(table):
            with _explaining(table, window.key):
                folder.mkdir(parents=True, exist_ok=True)
                # Before the batch: a partition with a batch and no mark would count as read, and as over.
                if owed_for is not None:
                    (folder / _OWED).write_text(owed_for)
                marks = self._marks(folder)
                until = None
                # One that has landed to its end meanwhile is not open any more.
                if window.is_open and (marks or not self.has_landed(table, window.key)):
                    until = max([*marks, f"{window.end:{_UNTIL}}"])
                    if not marks:
                        (folder / until).touch()
            yield
            with _explaining(table, window.key):
                if owed_for is None:
                    (folder / _OWED).unlink(missing_ok=True)
                    self.remember(table)
                if until is not None:
                    (folder / until).touch()
                for name in marks:
                    if name != until:
                        (folder / name).unlink()

    def _marks(self, folder: Path) -> list[str]:
        """Names of the files in a partition's folder that say up to when it was landed early."""
        return [path.name for path in folder.glob(_UNTIL_ANY)]

    def forget(self, table: RawTable, at: datetime) -> None:
        """Keep that the table's owner says that it is gone. What has landed stays.

        Raises:
            LakeError: the folder can't be written.
        """
        with self._alone(table), _explaining(table, "all partitions"):
            temporary = self._forgotten(table).with_name(f".{_FORGOTTEN}.tmp")
            temporary.write_text(at.astimezone(UTC).isoformat())
            _into_place(temporary, self._forgotten(table))

    def remember(self, table: RawTable) -> None:
        """Undo :meth:`forget`: the table can be read."""
        self._forgotten(table).unlink(missing_ok=True)

    def forgotten(self, table: RawTable) -> datetime | None:
        """When the table's owner said that it is gone, UTC; None where it was not said or could be read since."""
        with suppress(FileNotFoundError):
            return datetime.fromisoformat(self._forgotten(table).read_text())
        return None

    def _forgotten(self, table: RawTable) -> Path:
        return self.root / table.source / table.name / _FORGOTTEN

    def retry(self, table: RawTable, window_of_partition, known_at: datetime) -> list[Landing]:
        """Land the records in quarantine that fit by now, each in the partition that it came in.

        ``window_of_partition`` gives the window of a partition key. Those that still don't fit stay.

        Raises:
            LakeError: the disk is full, or the folder can't be written.
        """
        landings = []
        for path in self._quarantine_files(table):
            window = window_of_partition(_partition_in(path))
            with self._alone(table), _explaining(table, window.key):
                if not path.exists():
                    continue  # Another retry was faster.
                waiting = pl.read_parquet(path)
                records = _from_json(waiting["record"])
                fits = fit(table, records).fits
                if not fits.any():
                    continue
                landings.append(_Landing(self, table, window, known_at).run([records.filter(fits)]))
                # After the batch: a crash in between lands nothing twice, since versions are told apart.
                _replace(path, waiting.filter(~fits))
        return landings

    # -- reading ------------------------------------------------------------------------------------------------

    def batches(self, table: RawTable | None = None) -> list[Batch]:
        """The batches of a table, or of all, by partition and batch id.

        Raises:
            LakeError: the list of a merged file is missing or can't be read.
        """
        folder = f"{table.source}/{table.name}" if table else "*/*"
        return self._listed(folder, _PARTITION_DIR.format("*"), _MONTH_DIR.format("*"))

    def _batches_of(self, table: RawTable, partition: str) -> list[Batch]:
        """The batches of one partition. Only its month's lists are opened."""
        places = _PARTITION_DIR.format(partition), _MONTH_DIR.format(partition[:7])
        found = self._listed(f"{table.source}/{table.name}", *places)
        return [batch for batch in found if batch.partition == partition]

    def _listed(self, folder: str, partitions: str, months: str) -> list[Batch]:
        # Files of their own first: a compaction removes them only once the merged one is there.
        paths = sorted(self.root.glob(f"{folder}/{partitions}/*.parquet"))
        found = [Batch(_table_of(path), _partition_in(path), path.stem, path) for path in paths]
        for path in sorted(self.root.glob(f"{folder}/{months}/*.parquet")):
            try:
                listed = _read_list(path)
            except FileNotFoundError as error:
                if not path.exists():
                    # A compaction has replaced it meanwhile.
                    return self._listed(folder, partitions, months)
                raise LakeError(
                    f"{_table_of(path)}: the list of the batches in {path} is missing. "
                    f"Restore {_list_of(path)} from a backup"
                ) from error
            found += [Batch(_table_of(path), partition, id_, path) for id_, partition in listed.items()]
        # Of a batch that is there several times the last counts.
        batches = {(batch.table, batch.partition, batch.batch_id): batch for batch in found}
        return [batches[key] for key in sorted(batches)]

    def partitions(self, table: RawTable) -> list[str]:
        """Keys of the partitions of a table that have landed, be it early, oldest first."""
        return sorted({batch.partition for batch in self.batches(table)})

    def landed_early(self, table: RawTable) -> dict[str, datetime]:
        """Partitions of a table that have landed early and not yet to their end, each with up to when, UTC."""
        marks = (self.root / table.source / table.name).glob(f"{_PARTITION_DIR.format('*')}/{_UNTIL_ANY}")
        found: dict[str, datetime] = {}
        for path in sorted(marks):
            found[_partition_in(path)] = datetime.strptime(path.name, _UNTIL).replace(tzinfo=UTC)
        return found

    def has_landed(self, table: RawTable, partition: str) -> bool:
        """Whether a partition of a table has landed to its end."""
        early = self._marks(self.partition_dir(table, partition))
        return not early and bool(self._batches_of(table, partition))

    def read_until(self, table: RawTable) -> datetime | None:
        """Up to when the newest partition of a table was read, UTC; None where nothing has landed."""
        partitions = self.partitions(table)
        return self.landed_early(table).get(partitions[-1], end_of(partitions[-1])) if partitions else None

    def owed(self, table: RawTable) -> list[str]:
        """Keys of the partitions that landed empty because the table could not be read, oldest first."""
        marks = (self.root / table.source / table.name).glob(f"{_PARTITION_DIR.format('*')}/{_OWED}")
        return sorted(_partition_in(path) for path in marks)

    def unread(self, table: RawTable) -> str | None:
        """Why the newest partition of a table could not be read; None where it was, or where none has landed."""
        partitions, owed = self.partitions(table), self.owed(table)
        if not partitions or partitions[-1] not in owed:
            return None
        return (self.partition_dir(table, partitions[-1]) / _OWED).read_text()

    def alive(self, table: RawTable) -> int:
        """How many records of a table are not deleted, by their newest versions."""
        columns = [table.id_column, table.cursor, table.deletes.value]
        versions = self.versions(self.batches(table), columns)
        if versions.is_empty():
            return 0
        newest = versions.sort(table.cursor, "_partition", pl.col(table.deletes.value).fill_null(False))
        newest = newest.unique(table.id_column, keep="last", maintain_order=True)
        return newest.filter(~pl.col(table.deletes.value).fill_null(False)).height

    def _ahead(self, table: RawTable) -> dict[str, datetime]:
        """The partitions with records of after their window's end: the greatest cursor of these by key.

        The table's lock is held.
        """
        folder = self.root / table.source / table.name / _AHEAD
        if not folder.is_dir():
            self._make_ahead(table, folder)
        return {mark.name: _instant_in(mark) for mark in folder.glob("[!.]*")}

    def _make_ahead(self, table: RawTable, folder: Path) -> None:
        """Make the folder of these marks: of what landed before there were any, the files are asked once."""
        versions = self.versions(self.batches(table), [table.cursor])
        made = folder.with_name(f".{_AHEAD}.tmp")
        rmtree(made, ignore_errors=True)
        made.mkdir()
        if not versions.is_empty():
            for key, newest in versions.group_by("_partition").agg(pl.col(table.cursor).max()).iter_rows():
                if newest is not None and newest > end_of(key):
                    (made / key).write_text(newest.isoformat())
        made.rename(folder)

    def known_since(self) -> datetime | None:
        """When the first records were seen, UTC; None where there are none.

        Raises:
            LakeError: a file can't be read.
        """
        tables: dict[str, list[Batch]] = defaultdict(list)
        for batch in self.batches():
            tables[batch.table].append(batch)
        seen = [self.versions(batches, ["_known_at"])["_known_at"].min() for batches in tables.values()]
        return min((at for at in seen if at is not None), default=None)

    def read(self, table: RawTable) -> pl.LazyFrame:
        """All landed versions of a table, columns unknown to the catalogue included.

        Raises:
            LakeError: nothing has landed, or a file can't be read.
        """
        files = _by_file(self.batches(table))
        if not files:
            raise LakeError(f"{table.qualified_name}: nothing has landed. Run: gtm run")
        for batches in files.values():
            self.verify(batches[0])
        return pl.concat(
            [pl.scan_parquet(path, hive_partitioning=False) for path in files], how="diagonal_relaxed"
        )

    def versions(self, batches: Iterable[Batch], columns: Sequence[str]) -> pl.DataFrame:
        """These columns of the versions in some batches of a table, and ``_partition``, which each came in.

        A column that none of them has is left out.

        Raises:
            LakeError: a file can't be read.
        """
        batches = list(batches)
        try:
            return self._versions(batches, columns)
        except LakeError:
            if all(batch.path.exists() for batch in batches):
                raise
            # A compaction has merged them meanwhile: they are in another file.
            there = {(batch.table, batch.batch_id): batch for batch in self.batches()}
            return self._versions([there.get((b.table, b.batch_id), b) for b in batches], columns)

    def _versions(self, batches: Sequence[Batch], columns: Sequence[str]) -> pl.DataFrame:
        # A file may be of an older catalogue: without a column, or with one of another type.
        query = """
            select columns(lambda name: list_contains($columns, name)), _partition
            from read_parquet($paths, union_by_name = true, hive_partitioning = false)
            inner join batches using (_batch_id)
            """
        if not batches:
            return pl.DataFrame(schema=[*columns, "_partition"])
        with _comparing().cursor() as db:
            db.execute("set TimeZone = 'UTC'")
            ids = {"_batch_id": [b.batch_id for b in batches], "_partition": [b.partition for b in batches]}
            db.register("batches", pa.table(ids))
            files = _by_file(batches)
            with self._reading(files):
                given = {"columns": list(columns), "paths": [str(path) for path in files]}
                return db.sql(query, params=given).pl()

    @contextmanager
    def _reading(self, files: Mapping[Path, Sequence[Batch]]) -> Iterator[None]:
        """Where DuckDB fails to read files, say which of them can't be read."""
        try:
            yield
        except duckdb.Error:
            for batches in files.values():
                self.verify(batches[0])
            raise

    def verify(self, batch: Batch) -> None:
        """Raise where a batch's file can't be read.

        Raises:
            LakeError: the file is not whole Parquet.
        """
        error = _fault(batch.path)
        if error is None:
            return
        if not _is_torn(error):
            advice = "Check the disk and the folder's rights, then run again"
        elif _is_merged(batch.path):
            month = batch.partition[:7]
            advice = (
                f"It holds the batches of {month}. Restore it from a backup. Without one, give it the ending "
                f".unreadable in place of .parquet, leave its list, and land the month's partitions again"
            )
        else:
            advice = (
                f"Restore it from a backup, or land the partition again, which puts the file aside: "
                f"gtm run --from {batch.partition} --to {batch.partition}"
            )
        raise LakeError(
            f"{batch.table} {batch.partition}: the lake's file {batch.path} can't be read ({error}). {advice}"
        ) from error

    def verify_all(self, except_for: Set[str] = frozenset()) -> None:
        """Raise where a batch of the lake can't be read. Batches with the ids in ``except_for`` are not opened.

        Raises:
            LakeError: a file is not whole Parquet.
        """
        for batches in _by_file(b for b in self.batches() if b.batch_id not in except_for).values():
            self.verify(batches[0])

    def quarantined(self, table: RawTable) -> pl.DataFrame:
        """The records of a table in quarantine: partition, record_id, reason, record (JSON), _known_at."""
        frames = [
            pl.read_parquet(path).with_columns(pl.lit(_partition_in(path)).alias("partition"))
            for path in self._quarantine_files(table)
        ]
        empty = pl.DataFrame(schema={**_QUARANTINE_SCHEMA, "partition": pl.String()})
        return pl.concat([empty, *frames]).select("partition", "record_id", "reason", "record", "_known_at")

    # -- compaction ---------------------------------------------------------------------------------------------

    def compact(self, table: RawTable, keep_days: int = KEPT_DAYS) -> Compaction:
        """Merge a table's batches of each month that is over into one file, but for the last days' months.

        Versions, batch ids and the times at which they were known stay. A month is merged once all of its
        partitions are more than ``keep_days`` older than the newest that has landed; a batch that comes later into
        such a month joins its file the next time. Only files whose columns have equal types are merged. The files
        merged stay, without counting, until :meth:`remove_replaced`.

        Raises:
            LakeError: a file can't be read, the disk is full, or the folder can't be written. Nothing is lost.
            ValueError: ``keep_days`` are fewer than :data:`~gtm_assets.settings.KEPT_DAYS`.
        """
        if keep_days < KEPT_DAYS:
            raise ValueError(f"{keep_days} days are too few: the last {KEPT_DAYS} keep their own files")
        merged: list[dict[Path, list[Batch]]] = []
        with self._alone(table), _explaining(table, "compaction"):
            self._clear_up_merged(table)
            for month, batches in self._closed_months(table, keep_days).items():
                for files in self._mergeable(table, batches):
                    self._merge(table, month, files)
                    merged.append(files)
        return Compaction(
            table=table,
            batches=sum(len(batches) for files in merged for batches in files.values()),
            files_before=sum(len(files) for files in merged),
            files_after=len(merged),
        )

    def replaced(self, table: RawTable) -> list[Path]:
        """The table's files that do not count any more: a merged file lists all that they hold."""
        # Before the list, so that a file that lands meanwhile is not taken for one that the list leaves out.
        folder = self.root / table.source / table.name
        there = sorted([*folder.glob("partition=*/*.parquet"), *folder.glob("month=*/*.parquet")])
        counting = {batch.path for batch in self.batches(table)}
        return [path for path in there if path not in counting]

    def remove_replaced(self, table: RawTable) -> int:
        """Remove the files that do not count any more; give their number.

        Whoever has listed the table before they were replaced must have done with them.

        Raises:
            LakeError: a folder can't be written.
        """
        with self._alone(table), _explaining(table, "compaction"):
            replaced = self.replaced(table)
            for path in replaced:
                path.unlink()
                # After its file: a merged file without a list is an error.
                _list_of(path).unlink(missing_ok=True)
                with suppress(OSError):
                    path.parent.rmdir()
        return len(replaced)

    def _clear_up_merged(self, table: RawTable) -> None:
        """Remove what a killed compaction left. The list of a file that was put aside keeps its ids taken."""
        for folder in (self.root / table.source / table.name).glob(_MONTH_DIR.format("*")):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink()
            for path in folder.glob(f"*{_LIST}"):
                if not any(_with_ending(path, ending).exists() for ending in (".parquet", ".unreadable")):
                    path.unlink()

    def _closed_months(self, table: RawTable, keep_days: int) -> dict[str, list[Batch]]:
        batches = self.batches(table)
        if not batches:
            return {}
        first_kept = date.fromisoformat(batches[-1].partition) - timedelta(keep_days)
        months: dict[str, list[Batch]] = defaultdict(list)
        for batch in batches:
            # A month is over where its next one begins no later than the days that are kept.
            next_month = (date.fromisoformat(batch.partition[:7] + "-01") + timedelta(31)).replace(day=1)
            if next_month <= first_kept:
                months[batch.partition[:7]].append(batch)
        return months

    def _mergeable(self, table: RawTable, batches: list[Batch]) -> list[dict[Path, list[Batch]]]:
        """The files of a month, those together whose columns have equal types, where there are several.

        A file is never split: so a merged file of a greater number holds all that one of a smaller number held.
        """
        alike: dict[frozenset, dict[Path, list[Batch]]] = defaultdict(dict)
        for path, its in _by_file(batches).items():
            self.verify(its[0])
            odd = {(f.name, str(f.type)) for f in pq.read_schema(path) if f.type != _type_of(table, f.name)}
            alike[frozenset(odd)][path] = its
        return [files for files in alike.values() if len(files) > 1]

    def _merge(self, table: RawTable, month: str, files: Mapping[Path, Sequence[Batch]]) -> None:
        """Write a merged file and its list, the list first. The table's lock is held."""
        folder = self.root / table.source / table.name / _MONTH_DIR.format(month)
        folder.mkdir(parents=True, exist_ok=True)
        taken = [int(path.name.split(".")[0].rpartition("-")[2]) for path in folder.iterdir()]
        path = folder / f"{table.name}-{month}-{max(taken, default=-1) + 1:04d}.parquet"
        temporary = folder / f".{path.stem}.tmp"
        listing = folder / f".{path.stem}.list.tmp"
        try:
            _write_merged(list(files), temporary, table)
            lines = [
                json.dumps({"batch_id": batch.batch_id, "partition_key": batch.partition})
                for batch in sorted((b for its in files.values() for b in its), key=lambda b: b.batch_id)
            ]
            listing.write_text("".join(f"{line}\n" for line in lines))
            _into_place(listing, _list_of(path))
            _into_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
            listing.unlink(missing_ok=True)

    # -- places -------------------------------------------------------------------------------------------------

    def partition_dir(self, table: RawTable, partition: str) -> Path:
        """Where a partition's batches lie."""
        return self.root / table.source / table.name / _PARTITION_DIR.format(partition)

    def quarantine_dir(self, table: RawTable, partition: str) -> Path:
        """Where a partition's records wait that did not fit."""
        return self.root / "quarantine" / table.source / table.name / _PARTITION_DIR.format(partition)

    def _quarantine_files(self, table: RawTable) -> list[Path]:
        return sorted((self.root / "quarantine" / table.source / table.name).glob("partition=*/*.parquet"))

    @contextmanager
    def _alone(self, table: RawTable) -> Iterator[None]:
        """One landing of a table at a time; a process that dies lets go by dying."""
        folder = self.root / table.source / table.name
        with _explaining(table, "all partitions"):
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield


class _Landing:
    """One landing under way. The caller holds the table's lock."""

    def __init__(self, lake: Lake, table: RawTable, window: Window, known_at: datetime) -> None:
        self.lake, self.table, self.window, self.known_at = lake, table, window, known_at.astimezone(UTC)
        self.folder = lake.partition_dir(table, window.key)
        self.received = self.added = self.quarantined = self.hard_deleted = 0
        self.newest: datetime | None = None
        self.problems: dict[tuple[str, str], Problem] = {}
        self.rounded: dict[tuple[str, str], Problem] = {}
        self.unknown: set[str] = set()
        self.missing: set[str] | None = None
        self.repaired: Counter[str] = Counter()
        self.deleted_misfits: dict[str, datetime] = {}
        """Ids of records that are deleted and did not fit, each with when."""
        self._seen: dict[str, pl.Series] = {}
        self._own = _Hashes()
        # The time of loading tells versions apart only where the catalogue lists it, as its cursor.
        self._apart = set() if SYNCED in table.types else {SYNCED}

    def run(self, pages: Iterable[pl.DataFrame]) -> Landing:
        with self._explaining():
            self.folder.mkdir(parents=True, exist_ok=True)
            first = self._clear_up()
            self.batch_id = self._next_batch_id()
            spool = _Spool(self.folder / f".{self.batch_id}.tmp", self.table)
        misfits: list[pl.DataFrame] = []
        try:
            for page in pages:
                with self._explaining():
                    self._refuse_own_columns(page)
                    typed = fit(self.table, page)
                    self._note(typed)
                    misfits.append(self._misfits(page, typed))
                    self._note_deleted(typed)
                    spool.write(self._stamped(self._unseen(self._versions(typed), typed)))
            with self._explaining():
                for versions in self._missing_records():
                    spool.write(self._stamped(versions))
                landed = spool.close(empty_too=first)
                # Quarantine first: once the batch stands, the partition counts as landed.
                self._quarantine(misfits)
                size = landed.stat().st_size if landed else 0
                if landed:
                    self._mark_ahead()
                    _into_place(landed, self.folder / f"{self.batch_id}.parquet")
        finally:
            spool.discard()
        return Landing(
            table=self.table,
            partition=self.window.key,
            batch_id=self.batch_id if landed else None,
            received=self.received,
            added=self.added,
            quarantined=self.quarantined,
            bytes=size,
            newest_cursor=self.newest,
            problems=tuple(self.problems.values()),
            rounded=tuple(self.rounded.values()),
            unknown_columns=tuple(sorted(self.unknown)),
            missing_columns=tuple(sorted(self.missing or ())),
            columns={
                **{name: type_.sql for name, type_ in self.table.types.items()},
                **dict.fromkeys(sorted(self.unknown), ColumnType.STRING.sql),
                **{name: type_.sql for name, type_ in LOADER_COLUMNS.items()},
            },
            until=self.window.end,
            is_open=self.window.is_open,
            hard_deleted=self.hard_deleted,
            repaired=dict(self.repaired),
        )

    def _explaining(self):
        return _explaining(self.table, self.window.key)

    @property
    def _not_of_the_record(self) -> set[str]:
        """Columns of a page that say how a record came, so that in quarantine one record is one."""
        return self._apart

    def _refuse_own_columns(self, page: pl.DataFrame) -> None:
        for name in page.columns:
            if name in LOADER_COLUMNS and name != SYNCED:
                raise LakeError(
                    f"{self.table.qualified_name} {self.window.key}: the source returned a column {name}, which "
                    f"only the lake writes. Leave it out of the extraction or rename it; nothing was landed."
                )

    def _clear_up(self) -> bool:
        """Remove what a killed landing left, put unreadable files aside; say whether no batch is left."""
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink()
        batches = self.lake._batches_of(self.table, self.window.key)
        whole = 0
        for batch in batches:
            error = None if _is_merged(batch.path) else _fault(batch.path)
            if error is None:
                whole += 1
            elif _is_torn(error):
                batch.path.rename(batch.path.with_suffix(".unreadable"))
            else:
                self.lake.verify(batch)
        return whole == 0

    def _next_batch_id(self) -> str:
        # Files put aside count too: an id that a model may have consumed is never given again.
        stem = f"{self.table.name}-{self.window.key}-"
        month = self.folder.with_name(_MONTH_DIR.format(self.window.key[:7]))
        taken = {path.stem for path in self.folder.iterdir() if path.suffix in (".parquet", ".unreadable")}
        taken |= {id_ for path in month.glob(f"*{_LIST}") for id_ in _read_list(_with_ending(path, ".parquet"))}
        numbers = [int(id_.removeprefix(stem)) for id_ in taken if id_.startswith(stem)]
        return f"{stem}{max(numbers, default=-1) + 1:04d}"

    def _note(self, typed: TypedPage) -> None:
        if typed.frame.is_empty():
            return  # A source that found nothing may not name its columns.
        self.received += typed.frame.height
        self.unknown.update(typed.unknown_columns)
        self.repaired.update(typed.repaired)
        missing = set(typed.missing_columns)
        self.missing = missing if self.missing is None else self.missing & missing

    def _misfits(self, page: pl.DataFrame, typed: TypedPage) -> pl.DataFrame:
        """The page's records for quarantine. What was rounded is counted too."""
        ids = None
        if (typed.misfits or typed.rounded) and self.table.id_column in page.columns:
            ids = as_text(page[self.table.id_column])
        for misfit in typed.rounded:
            self._count(self.rounded, misfit, ids)
        if not typed.misfits:
            return pl.DataFrame(schema=_QUARANTINE_SCHEMA)
        reasons: dict[int, list[str]] = {}
        for misfit in typed.misfits:
            for row in misfit.rows.arg_true():
                reasons.setdefault(row, []).append(f"{misfit.column} {misfit.problem}: {misfit.values[row]!r}")
            self._count(self.problems, misfit, ids)
        rows = sorted(reasons)
        records = _to_json(page[rows])
        told_apart_by = _to_json(page[rows].drop(self._not_of_the_record, strict=False))
        return pl.DataFrame(
            {
                "record_id": [None if ids is None else ids[row] for row in rows],
                "reason": ["; ".join(reasons[row]) for row in rows],
                "record": records,
                "_batch_id": [self.batch_id] * len(rows),
                "_known_at": [self.known_at] * len(rows),
                "_record_hash": _md5(pl.Series(told_apart_by, dtype=pl.String)),
            },
            schema=_QUARANTINE_SCHEMA,
        )

    def _note_deleted(self, typed: TypedPage) -> None:
        if not typed.misfits:
            return
        is_deleted = pl.col(self.table.deletes.value).fill_null(False) & pl.col(self.table.id_column).is_not_null()
        deleted = typed.frame.filter(~typed.fits).filter(is_deleted)
        for id_, at in deleted.select(self.table.id_column, self.table.cursor).iter_rows():
            self.deleted_misfits[id_] = max(at or self.window.end, self.deleted_misfits.get(id_, _EARLIEST))

    @staticmethod
    def _count(problems: dict[tuple[str, str], Problem], misfit: Misfit, ids: pl.Series | None) -> None:
        """Add what ails a column of a page to that of the pages before."""
        key, first = (misfit.column, misfit.problem), int(misfit.rows.arg_true()[0])
        before = problems.get(key)
        problems[key] = Problem(
            *key,
            records=int(misfit.rows.sum()) + (before.records if before else 0),
            example_id=before.example_id if before else (ids[first] if ids is not None else None),
            example_value=before.example_value if before else misfit.values[first],
        )

    def _versions(self, typed: TypedPage) -> pl.DataFrame:
        """The records that fit, each with its version hash, each version once."""
        frame = typed.frame.filter(typed.fits) if typed.misfits else typed.frame
        return self._hashed(frame).unique("_version_hash", keep="first", maintain_order=True)

    def _hashed(self, frame: pl.DataFrame) -> pl.DataFrame:
        told_apart_by = frame.drop(self._apart, strict=False)
        return frame.hstack([version_hash(told_apart_by).alias("_version_hash")])

    def _unseen(self, frame: pl.DataFrame, typed: TypedPage) -> pl.DataFrame:
        """The versions that neither this landing nor an earlier one brought."""
        landed = [self._landed_versions(self.window.key), *self._earlier_versions(frame)]
        return self._own.absent_of(_without(frame, landed))

    def _missing_records(self) -> Iterator[pl.DataFrame]:
        """Versions that say that records are gone, once all pages are there.

        A version that did not fit and says so waits in quarantine: its record's last good content is deleted.
        """
        if self.deleted_misfits:
            other = _DeletionsLanding(self.lake, self.table, self.window, self.known_at, self.deleted_misfits)
            with other.db:
                other._find_newest()
                yield from other._told_deletions()

    def _stamped(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The versions with the loader's columns, and counted."""
        now = pl.lit(self.known_at, pl.Datetime("us", "UTC"))
        frame = frame.with_columns(
            (pl.col(SYNCED).fill_null(now) if SYNCED in frame.columns else now).alias(SYNCED),
            pl.lit(self.batch_id).alias("_batch_id"),
            now.alias("_known_at"),
        )
        self._own.add(frame["_version_hash"])
        self.added += frame.height
        newest = frame[self.table.cursor].max()
        if newest is not None:
            self.newest = newest if self.newest is None else max(self.newest, newest)
        return frame

    def _earlier_versions(self, frame: pl.DataFrame) -> list[pl.Series]:
        """Versions landed by the earlier partitions that may hold a record of this page.

        Those are the partitions to which late records belong, and those that hold records of after their window's
        end. Only these are opened, so the cost follows the lateness and not the history.
        """
        oldest, start = frame[self.table.cursor].min(), self.window.start
        if oldest is None or start is None:
            return []
        earlier = {key for key, newest in self._ahead.items() if key < self.window.key and newest >= oldest}
        # A boundary counts as the end, too: what a full extraction detects is stamped with its window's end.
        if oldest <= start:
            since = partition_of(oldest - timedelta(microseconds=1))
            earlier.update(key for key in self.lake.partitions(self.table) if since <= key < self.window.key)
        return [self._landed_versions(key) for key in sorted(earlier)]

    @cached_property
    def _ahead(self) -> dict[str, datetime]:
        return self.lake._ahead(self.table)

    def _mark_ahead(self) -> None:
        """Say that this partition holds records of after its window's end, where it does."""
        marked = self._ahead
        if self.newest is None or self.newest <= self.window.end:
            return
        newest = max(self.newest, marked.get(self.window.key, self.newest))
        folder = self.folder.with_name(_AHEAD)
        temporary = folder / f".{self.window.key}.tmp"
        try:
            temporary.write_text(newest.isoformat())
            _into_place(temporary, folder / self.window.key)
        finally:
            temporary.unlink(missing_ok=True)

    def _landed_versions(self, partition: str) -> pl.Series:
        if partition not in self._seen:
            batches = self.lake._batches_of(self.table, partition)
            landed = self.lake.versions(batches, ["_version_hash"])
            self._seen[partition] = landed["_version_hash"].cast(pl.String)
        return self._seen[partition]

    def _quarantine(self, pages: list[pl.DataFrame]) -> None:
        if all(page.is_empty() for page in pages):
            return
        found = pl.concat([pl.DataFrame(schema=_QUARANTINE_SCHEMA), *pages]).unique(
            "_record_hash", keep="first", maintain_order=True
        )
        folder = self.lake.quarantine_dir(self.table, self.window.key)
        for path in self._quarantine_before():
            found = found.join(pl.read_parquet(path), on="_record_hash", how="anti")
        if found.is_empty():
            return
        folder.mkdir(parents=True, exist_ok=True)
        # The batch's name is free here as long as it is free in the lake, but for a landing of misfits alone.
        name, again = self.batch_id, 0
        while (folder / f"{name}.parquet").exists():
            again += 1
            name = f"{self.batch_id}.{again}"
        _replace(folder / f"{name}.parquet", found)
        self.quarantined = found.height

    def _quarantine_before(self) -> list[Path]:
        """The files in which a record of this landing may wait already."""
        return sorted(self.lake.quarantine_dir(self.table, self.window.key).glob("*.parquet"))


class _Hashes:
    """The version hashes of one landing so far: 16 bytes each, and looking for a page costs no more for many."""

    def __init__(self) -> None:
        self._halves = [pl.Series([], dtype=pl.UInt64), pl.Series([], dtype=pl.UInt64)]
        self._last: pl.Series | None = None

    def add(self, hashes: pl.Series) -> None:
        self._settle()
        # Most landings have one page, for which nothing is ever looked up.
        self._last = hashes

    def _settle(self) -> None:
        if self._last is not None:
            for half, more in zip(self._halves, _as_numbers(self._last), strict=True):
                half.append(more)
            self._last = None

    def absent_of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The versions whose hash is not among these."""
        self._settle()
        if self._halves[0].is_empty():
            return frame
        wanted = _as_numbers(frame["_version_hash"])
        # The page is what is looked up in: it is the smaller one.
        there = self._halves[0].is_in(wanted[0].implode())
        if not there.any():
            return frame
        found = pl.DataFrame([half.filter(there).alias(f"half_{n}") for n, half in enumerate(self._halves)])
        keys = pl.DataFrame([half.alias(f"half_{n}") for n, half in enumerate(wanted)]).with_row_index("row")
        return frame[keys.join(found, on=found.columns, how="anti", maintain_order="left")["row"].to_list()]


def _as_numbers(hashes: pl.Series) -> list[pl.Series]:
    return [hashes.str.slice(low, 16).str.to_integer(base=16, dtype=pl.UInt64) for low in (0, 16)]


class _ComparedLanding(_Landing):
    """Landing that knows the newest version that the lake has of each record.

    DuckDB holds the ids and compares; of the records themselves memory holds a page.
    """

    def __init__(self, lake: Lake, table: RawTable, window: Window, known_at: datetime) -> None:
        super().__init__(lake, table, window, known_at)
        # A connection of its own, with temporary tables of its own.
        self.db = _comparing().cursor()
        self.db.execute("set TimeZone = 'UTC'")

    def run(self, pages: Iterable[pl.DataFrame]) -> Landing:
        with self.db:
            with self._explaining():
                # A file that is put aside has no newest versions.
                self._clear_up()
                self._find_newest()
            return super().run(pages)

    def _find_newest(self) -> None:
        """Table ``newest``: of each record the version that the models take too."""
        batches = self.lake.batches(self.table)
        files = _by_file(batches)
        self.paths = [str(path) for path in files]
        kind = self.table.types[self.table.id_column].sql
        self.db.execute(f"create temp table newest (id {kind}, cursor timestamptz, deleted boolean, hash varchar)")
        if not self.paths:
            return
        ids = {"batch_id": [b.batch_id for b in batches], "partition": [b.partition for b in batches]}
        self.db.register("batches", pa.table(ids))
        query = f"""
            insert into newest
            with {self._versions_of("true")},
            ranked as (select id, {_NEWEST} as newest from versions group by id)
            select id, newest.c, newest.d, newest.h from ranked
            """
        with self.lake._reading(files):
            self.db.execute(query, {"paths": self.paths})

    def _versions_of(self, which: str) -> str:
        """SQL of the CTE ``versions``: each version of the records ``which`` once, with where it first came in."""
        return f"""
            landed as (
                select
                    {_quoted(self.table.id_column)} as id,
                    {_quoted(self.table.cursor)} as cursor,
                    coalesce({_quoted(self.table.deletes.value)}, false) as deleted,
                    _version_hash as hash,
                    batches.partition
                from read_parquet($paths, union_by_name = true, hive_partitioning = false) as raw
                inner join batches on raw._batch_id = batches.batch_id
                where {which}
            ),
            versions as (
                select
                    id, hash, min(partition) as partition, max(cursor) as cursor, bool_or(deleted) as deleted
                from landed group by id, hash
            )
            """

    def _contents(self, hashes: pl.Series) -> pl.DataFrame:
        """The landed versions with these hashes, each once, in the catalogue's types."""
        self.db.register("wanted", hashes.to_frame("_version_hash").to_arrow())
        landed = self.db.sql(
            "select * from read_parquet($paths, union_by_name = true, hive_partitioning = false)"
            " where _version_hash in (select _version_hash from wanted)",
            params={"paths": self.paths},
        ).pl()
        self.db.unregister("wanted")
        landed = landed.unique("_version_hash", keep="first", maintain_order=True)
        own = landed.select("_version_hash")
        # A file may be of an older catalogue.
        return pl.concat(
            [fit(self.table, landed.drop(set(LOADER_COLUMNS) - set(self.table.types))).frame, own],
            how="horizontal",
        )

    def _tombstones(self, gone: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Versions that say that records are gone: of their newest ``hash`` the content, as of ``gone_at``."""
        mark = pl.lit(True).alias(self.table.deletes.value)
        for low in range(0, gone.height, _CHUNK_ROWS):
            some = gone[low : low + _CHUNK_ROWS].select("hash", pl.col("gone_at").cast(pl.Datetime("us", "UTC")))
            records = self._contents(some["hash"]).join(some, left_on="_version_hash", right_on="hash")
            records = records.with_columns(mark, pl.col("gone_at").alias(self.table.cursor))
            self.hard_deleted += records.height
            yield self._hashed(records.drop("gone_at", *_COMPARED, strict=False))


class _DeletionsLanding(_ComparedLanding):
    """Landing what an extraction found, and what the source says was deleted."""

    def __init__(self, lake, table, window, known_at, deletions: Mapping[str, datetime]) -> None:
        super().__init__(lake, table, window, known_at)
        self.deletions = deletions

    def _missing_records(self) -> Iterator[pl.DataFrame]:
        yield from super()._missing_records()
        yield from self._told_deletions()

    def _told_deletions(self) -> Iterator[pl.DataFrame]:
        told = pl.DataFrame(
            {"id": list(self.deletions), "gone_at": list(self.deletions.values())},
            schema={"id": pl.String(), "gone_at": pl.Datetime("us", "UTC")},
        )
        self.db.register("told", told.to_arrow())
        yield from self._tombstones(
            self.db.sql(
                "select hash, gone_at from newest join told using (id)"
                " where not deleted and cursor < gone_at order by id"
            ).pl()
        )


class _SnapshotLanding(_ComparedLanding):
    """Landing all records of a table."""

    def __init__(self, lake: Lake, table: RawTable, window: Window, known_at: datetime, limit: float) -> None:
        super().__init__(lake, table, window, known_at)
        self.limit, self.detected_at = limit, window.end
        self.all_have_ids = True

    def _find_newest(self) -> None:
        super()._find_newest()
        self.db.execute(f"create temp table present (id {self.table.types[self.table.id_column].sql})")

    def _note(self, typed: TypedPage) -> None:
        super()._note(typed)
        ids = typed.frame[self.table.id_column]
        self.all_have_ids &= not ids.has_nulls()
        # A record in quarantine is there too.
        self._insert("present", ids.drop_nulls().to_frame("id"))

    def _insert(self, name: str, frame: pl.DataFrame) -> None:
        self.db.register("frame", frame.to_arrow())
        self.db.execute(f"insert into {name} select * from frame")
        self.db.unregister("frame")

    def _with_newest(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The records with the cursor and the hash of the newest version that the lake has of each."""
        keys = frame.select(pl.col(self.table.id_column).alias("id")).with_row_index("row")
        self.db.register("keys", keys.to_arrow())
        newest = self.db.sql(
            "select row, newest.cursor as newest_cursor, newest.hash as newest_hash"
            " from keys left join newest using (id) order by row"
        ).pl()
        self.db.unregister("keys")
        return frame.with_columns(newest["newest_cursor"].cast(pl.Datetime("us", "UTC")), newest["newest_hash"])

    def _unseen(self, frame: pl.DataFrame, typed: TypedPage) -> pl.DataFrame:
        cursor, end = self.table.cursor, pl.lit(self.window.end, pl.Datetime("us", "UTC"))
        frame = self._with_newest(frame)
        frame = frame.filter(
            pl.col(cursor) < end,
            pl.col("newest_cursor").is_null() | (pl.col("newest_cursor") < end),
            pl.col("newest_hash").is_null() | (pl.col("newest_hash") != pl.col("_version_hash")),
        )
        is_later = pl.col("newest_cursor").is_null() | (pl.col(cursor) > pl.col("newest_cursor"))
        found = frame.filter(is_later).drop("newest_cursor", "newest_hash")
        if not self.table.is_append_only:
            restated = self._detected(self._differing(frame.filter(~is_later), typed.missing_columns))
            found = pl.concat([found, restated.select(found.columns)])
        return self._own.absent_of(found)

    def _differing(self, frame: pl.DataFrame, missing: tuple[str, ...]) -> pl.DataFrame:
        """Those of the records whose content, the cursor aside, is not that of their newest version."""
        if frame.is_empty():
            return frame
        # A page without the delete mark shows what is alive.
        mark = self.table.deletes.value
        lacking = ({*missing, self.table.cursor} - {mark}) | self._apart | set(_COMPARED)
        names = [name for name in frame.columns if name not in lacking]
        before = self._contents(frame["newest_hash"]).rename({"_version_hash": "newest_hash"})
        absent = [pl.lit(None, frame.schema[name]).alias(name) for name in names if name not in before.columns]
        before = before.with_columns(absent)
        contents = [
            side.select(
                "newest_hash", version_hash(side.select(names).with_columns(pl.col(mark).fill_null(False)))
            )
            for side in (before, frame)
        ]
        is_same = contents[1].join(contents[0], on=contents[0].columns, how="left", coalesce=False)
        return frame.filter(is_same["hash_right"].is_null())

    def _detected(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The records as versions of the time of detection."""
        end = pl.lit(self.detected_at, pl.Datetime("us", "UTC")).alias(self.table.cursor)
        return self._hashed(frame.drop(_COMPARED, strict=False).with_columns(end))

    def _missing_records(self) -> Iterator[pl.DataFrame]:
        yield from super()._missing_records()
        if self.table.is_append_only:
            return
        alive = "not deleted and cursor < $end"
        end = {"end": self.detected_at}
        ((live,),) = self.db.execute(f"select count(*) from newest where {alive}", end).fetchall()
        gone = self.db.sql(
            f"select hash, $end as gone_at from newest anti join present using (id) where {alive} order by id",
            params=end,
        ).pl()
        self._refuse_short(gone.height, live)
        yield from self._tombstones(gone)

    def _refuse_short(self, gone: int, live: int) -> None:
        name = f"{self.table.qualified_name} {self.window.key}"
        if gone and not self.all_have_ids:
            raise LakeError(
                f"{name}: the full extraction returned records without {self.table.id_column}, so it can't tell "
                f"which of {gone:,} missing records are gone. Nothing was landed. Look at the source's answer."
            )
        allowed = max(self.limit * live, MISSING_ALWAYS_ALLOWED)
        if gone <= allowed and (gone < live or gone == 0 or self.limit == 1):
            return
        raise LakeError(
            f"{name}: the full extraction lacks {gone:,} of {live:,} live records, more than "
            f"GTM_HARD_DELETE_LIMIT ({self.limit:.0%}) allows. Nothing was landed. "
            f"See whether the source still lets us read all records. "
            f"If they were deleted: GTM_HARD_DELETE_LIMIT=1 gtm run --full-extraction"
        )


class _ExportLanding(_SnapshotLanding):
    """Landing an export, compared with the newest version that the lake has of each record."""

    def __init__(
        self,
        lake: Lake,
        table: RawTable,
        window: Window,
        known_at: datetime,
        limit: float,
        exported_at: datetime,
        is_snapshot: bool,
    ) -> None:
        super().__init__(lake, table, window, known_at, limit)
        self.detected_at, self.is_snapshot = exported_at.astimezone(UTC), is_snapshot

    def _unseen(self, frame: pl.DataFrame, typed: TypedPage) -> pl.DataFrame:
        cursor, newest = pl.col(self.table.cursor), pl.col("newest_cursor")
        columns = frame.columns
        frame = self._with_newest(frame)
        known = frame.filter(newest.is_not_null())
        found = [frame.filter(newest.is_null()).select(columns)]
        if not self.table.is_append_only:
            differing = self._differing(known, typed.missing_columns)
            just_after = newest + pl.duration(microseconds=1)
            replacing = differing.filter(cursor >= newest).with_columns(
                pl.when(cursor == newest).then(just_after).otherwise(cursor).alias(self.table.cursor)
            )
            found.append(self._hashed(replacing.select(columns).drop("_version_hash")).select(columns))
            older = self._with_version_in_force(differing.filter(cursor < newest))
            older = older.filter(~pl.col("is_known")).drop("is_known")
            first = older.filter(pl.col("newest_hash").is_null())
            changed = self._differing(older.filter(pl.col("newest_hash").is_not_null()), typed.missing_columns)
            found += [first.select(columns), changed.select(columns)]
        return self._own.absent_of(pl.concat(found))

    @property
    def _not_of_the_record(self) -> set[str]:
        made = {column.name for column in self.table.columns if not column.api_name}
        return self._apart | (made - {self.table.id_column})

    def _quarantine_before(self) -> list[Path]:
        # Each export brings it again: it waits where it came first.
        return self.lake._quarantine_files(self.table)

    def _with_version_in_force(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The records with the hash of the version that the lake has of each for that time, where it has one.

        And with whether the lake has this very version, of which another of the same time has won.
        """
        if frame.is_empty():
            return frame.with_columns(pl.lit(False).alias("is_known"))
        keys = frame.select(
            pl.col(self.table.id_column).alias("id"),
            pl.col(self.table.cursor).alias("at"),
            pl.col("_version_hash").alias("own_hash"),
        ).with_row_index("row")
        self.db.register("keys", keys.to_arrow())
        which = f"raw.{_quoted(self.table.id_column)} in (select id from keys)"
        in_force = self.db.sql(
            f"""
            with {self._versions_of(which)}
            select
                keys.row,
                {_NEWEST}.h as hash,
                coalesce(bool_or(versions.hash = keys.own_hash), false) as is_known
            from keys
            left join versions on versions.id = keys.id and versions.cursor <= keys.at
            group by keys.row
            order by keys.row
            """,
            params={"paths": self.paths},
        ).pl()
        self.db.unregister("keys")
        return frame.with_columns(in_force["hash"].alias("newest_hash"), in_force["is_known"])

    def _missing_records(self) -> Iterator[pl.DataFrame]:
        if self.is_snapshot:
            yield from super()._missing_records()


class _Spool:
    """A Parquet file that grows page by page beside its final place.

    Columns that the catalogue does not know may first show up on a later page; then the pages before are copied
    with the column as null.
    """

    def __init__(self, path: Path, table: RawTable) -> None:
        self._path = path
        self._fields = {name: LOADER_COLUMNS.get(name, type_).arrow for name, type_ in table.types.items()}
        self._unknown: list[str] = []
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
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
        return pq.ParquetWriter(path, schema, compression="zstd")

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


def version_hash(frame: pl.DataFrame) -> pl.Series:
    """One md5 per record over all its columns by name; a null counts like an absent column.

    So neither the order of columns nor a new, still empty one makes a new version. Timestamps count as
    microseconds since 1970, amounts without the zeros that their type adds but for those of two decimals (100.00):
    so what an older release landed with two decimals keeps its hash.
    """
    pieces = []
    for name in sorted(frame.columns):
        column = pl.col(name)
        is_time = isinstance(frame.schema[name], pl.Datetime)
        text = (column.dt.epoch("us") if is_time else column).cast(pl.String)
        if isinstance(frame.schema[name], pl.Decimal):
            text = text.str.replace(r"(\.[0-9]{2}[0-9]*?)0+$", "${1}")
        # With its length, so that no text can pass for two columns.
        pieces.append(pl.concat_str(pl.lit(f"{name}="), text.str.len_bytes(), pl.lit(":"), text))
    return _md5(frame.select(pl.concat_str(pieces, ignore_nulls=True)).to_series())


@cache
def _comparing() -> duckdb.DuckDBPyConnection:
    # Opening and closing one takes longer than comparing a day's records.
    return duckdb.connect(config={"threads": 1, "temp_directory": gettempdir()})


def _without(frame: pl.DataFrame, known: Iterable[pl.Series]) -> pl.DataFrame:
    """The versions whose hash is in none of ``known``."""
    for hashes in known:
        if frame.height and len(hashes):
            frame = frame.join(hashes.to_frame("_version_hash"), on="_version_hash", how="anti")
    return frame


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _md5(texts: pl.Series) -> pl.Series:
    # Polars' own hash changes between its versions.
    hashes = [hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in texts]
    return pl.Series("hash", hashes, dtype=pl.String)


def _to_json(page: pl.DataFrame) -> list[str]:
    """Each record as a JSON object of texts and nulls, which :func:`fit` reads back without loss."""
    texts = pl.DataFrame([as_text(page[name]) for name in page.columns])
    return [json.dumps(record, ensure_ascii=False, sort_keys=True) for record in texts.iter_rows(named=True)]


def _from_json(records: pl.Series) -> pl.DataFrame:
    rows = [json.loads(record) for record in records]
    names = sorted({name for row in rows for name in row})
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in names}, schema=dict.fromkeys(names, pl.String)
    )


def _instant_in(mark: Path) -> datetime:
    """The instant that a mark holds. One that can't be read stands for every instant: it costs a file more."""
    try:
        return datetime.fromisoformat(mark.read_text())
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def _partition_in(path: Path) -> str:
    return path.parent.name.removeprefix(_PARTITION_DIR.format(""))


def _table_of(path: Path) -> str:
    return f"{path.parts[-4]}.{path.parts[-3]}"


def _is_merged(path: Path) -> bool:
    return path.parent.name.startswith(_MONTH_DIR.format(""))


def _with_ending(path: Path, ending: str) -> Path:
    return path.with_name(path.name.split(".")[0] + ending)


def _list_of(path: Path) -> Path:
    return _with_ending(path, _LIST)


def _read_list(path: Path) -> dict[str, str]:
    """The batches that a merged file holds: partition key by batch id."""
    rows = map(json.loads, _list_of(path).read_text().splitlines())
    try:
        return {row["batch_id"]: row["partition_key"] for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{_table_of(path)}: the list of batches {_list_of(path)} can't be read ({error}). "
            f"Restore it from a backup"
        ) from error


def _by_file(batches: Iterable[Batch]) -> dict[Path, list[Batch]]:
    files: dict[Path, list[Batch]] = defaultdict(list)
    for batch in batches:
        files[batch.path].append(batch)
    return dict(files)


def _type_of(table: RawTable, column: str) -> pa.DataType:
    """The type in which a column lands: the loader's, the catalogue's, or text."""
    return (LOADER_COLUMNS.get(column) or table.types.get(column) or ColumnType.STRING).arrow


def _write_merged(paths: Sequence[Path], temporary: Path, table: RawTable) -> None:
    """Write the rows of files whose columns have equal types into one. Memory holds one row group.

    Rows keep the order of their batches, so that a filter by batch or by ``_known_at`` skips row groups.
    """
    fields = {field.name: field.type for path in paths for field in pq.read_schema(path)}
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
            with pq.ParquetFile(path) as file:
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
    expected = sum(pq.read_metadata(path).num_rows for path in paths)
    written = pq.read_metadata(temporary).num_rows
    if not rows == written == expected:
        raise LakeError(
            f"{table.qualified_name}: {written:,} of {expected:,} rows were merged. Nothing was replaced"
        )


def _fault(path: Path) -> Exception | None:
    """Why a Parquet file can't be read, or None where it can."""
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        return error
    return None


def _is_torn(error: Exception) -> bool:
    """Whether the file itself is at fault, and not the disk or its rights: those have an error number."""
    return getattr(error, "errno", None) is None


def _into_place(temporary: Path, final: Path) -> None:
    """Give a finished file its name, durably. The table's lock is held."""
    _sync(temporary)
    temporary.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, frame: pl.DataFrame) -> None:
    """Write a quarantine file whole, or remove it where nothing is left."""
    if frame.is_empty():
        path.unlink()
        return
    temporary = path.with_name(f".{path.stem}.tmp")
    try:
        frame.write_parquet(temporary)
        _into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _explaining(table: RawTable, partition: str) -> Iterator[None]:
    """Turn the operating system's errors into sentences. Nothing has landed when one is raised."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "The disk is full: free space and run again; nothing of the partition was landed"
        else:
            advice = "Check that the folder can be written, then run again; nothing of the partition was landed"
        raise LakeError(f"{table.qualified_name} {partition}: {error}. {advice}.") from error
