"""The lake: a change log of raw records that only grows, and its only writer. It lies in a folder or a bucket.

Erasure is the one exception: it rewrites the files that hold what identifies a person.

A batch is one immutable Parquet file, ``lake/<source>/<table>/partition=<day>/<batch id>.parquet``, written beside
its place and moved into it whole. Its columns are the catalogue's, then columns that the catalogue does not know
(as text), then the loader's: ``_batch_id``, ``_known_at`` (when we saw the records), ``_fivetran_synced`` (when
they were loaded: by the lake, or by the loader whose tables the source reads) and ``_version_hash``. This hash of
all source columns, id and cursor among them, identifies a version of a record.

The parts:

| file | holds |
|---|---|
| :mod:`~gtm_assets.lake.store` | ``Lake``: each way to land a partition, under the table's lock |
| :mod:`~gtm_assets.lake.reader` | ``LakeReader``: lists batches, reads versions, verifies files |
| :mod:`~gtm_assets.lake.writer` | ``BatchWriter``: writes one batch; ``spool`` is the file beside its place |
| :mod:`~gtm_assets.lake.selections` | which versions a landing writes; ``newest`` is the index that it asks |
| :mod:`~gtm_assets.lake.coerce` | records in the catalogue's types; ``hashes`` tells their versions apart |
| :mod:`~gtm_assets.lake.quarantine` | records that do not fit |
| :mod:`~gtm_assets.lake.marks` | small files beside batches: landed early, unreadable, forgotten |
| :mod:`~gtm_assets.lake.compaction` | merges the batches of months that are long over |
| :mod:`~gtm_assets.lake.retention` | letting go of versions that were superseded for long |
| :mod:`~gtm_assets.lake.erased` | who was erased, by keyed hashes; ``rewriting`` takes them out of what landed |
| :mod:`~gtm_assets.lake.files` | names of files, durable writes; ``columns``: what the lake adds to each record |
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType

import polars as pl
from filelock import FileLock

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake import compaction, retention, rewriting
from gtm_assets.lake.coerce import coerce
from gtm_assets.lake.columns import unhashed_columns
from gtm_assets.lake.compaction import Compaction
from gtm_assets.lake.files import explaining, partition_in
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.marks import AheadMarks
from gtm_assets.lake.newest import NewestVersions
from gtm_assets.lake.quarantine import Rejects, from_json
from gtm_assets.lake.reader import LakeReader
from gtm_assets.lake.retention import Retention
from gtm_assets.lake.rewriting import Rewriting
from gtm_assets.lake.selections import (
    DeletionsSelection,
    ExportSelection,
    MissingRecords,
    Selection,
    SnapshotSelection,
    Target,
    Whole,
    WindowSelection,
)
from gtm_assets.lake.writer import BatchWriter
from gtm_assets.partitions import Window
from gtm_assets.place import Place
from gtm_assets.settings import HARD_DELETE_LIMIT, KEPT_DAYS

_NO_DELETIONS: Mapping[str, datetime] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class ExportInfo:
    """What is known of an export beside its records."""

    exported_at: datetime
    """When it was made. The cursor of its records is this instant."""
    is_snapshot: bool = False
    """Whether it holds all records of the table; else it may be a piece of the whole."""
    limit: float = HARD_DELETE_LIMIT
    """Share of the live records that a whole export may lack."""


class Lake(LakeReader):
    """The lake under ``root``."""

    _kept: NewestVersions | None = None

    @contextmanager
    def keeping(self, table: RawTable) -> Iterator[Lake]:
        """This lake, to land many partitions of one table: its newest versions stay in memory in between.

        Each landing takes what anything else has written since, so it lands what it would land without.
        """
        lake = copy.copy(self)
        with NewestVersions(self, table) as lake._kept:
            yield lake
            lake._kept = None

    @contextmanager
    def _newest(self, table: RawTable) -> Iterator[NewestVersions]:
        if self._kept is not None and self._kept.table == table:
            with self._kept.in_one_landing() as newest:
                yield newest
        else:
            with NewestVersions(self, table) as newest:
                yield newest

    # -- landing ------------------------------------------------------------------------------------------------

    def land(
        self,
        table: RawTable,
        window: Window,
        pages: Iterable[pl.DataFrame],
        known_at: datetime,
        deletions: Mapping[str, datetime] = _NO_DELETIONS,
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
        target = _target(table, window, known_at)
        with self._landing(table, window), self._newest(table) as newest:
            return self._write_window(target, newest, pages, deletions, shows_now=True)

    def land_snapshot(
        self,
        table: RawTable,
        window: Window,
        pages: Iterable[pl.DataFrame],
        known_at: datetime,
        limit: float = HARD_DELETE_LIMIT,
    ) -> Landing:
        """Land all records of a table as they are at the end of ``window``, in that partition.

        This finds what the daily extractions could not see:

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
        target = _target(table, window, known_at)
        with self._landing(table, window), self._newest(table) as newest:
            missing = MissingRecords(target, newest, Whole(window.end, limit))
            selection = SnapshotSelection(target, newest, missing)
            return self._writer(target, DeletionsSelection(selection, target, newest, _NO_DELETIONS)).write(pages)

    def land_export(
        self, table: RawTable, window: Window, pages: Iterable[pl.DataFrame], known_at: datetime, info: ExportInfo
    ) -> Landing:
        """Land what is new in an export, which holds records whatever their time, in the partition of ``window``.

        New is a record that the lake does not have, or whose content is not that of its newest version; where the
        table's cursor is ours (it has no name in the source), it does not count as content. The pages' cursor is
        then ``info.exported_at``. A version that replaces another of the same instant gets a cursor just after it.
        An export that is older than the newest version of a record gives that record a version of its own time.

        An export may be a piece of the whole. Only with ``info.is_snapshot`` are records that it lacks marked as
        deleted, at ``exported_at`` and within the limit, as in :meth:`land_snapshot`. Records in quarantine that
        such an export no longer has are released: a footer row, say, that the source has left out since.

        Raises:
            LakeError: as in :meth:`land_snapshot`. Nothing was landed.
        """
        target = _target(table, window, known_at)
        with self._landing(table, window), self._newest(table) as newest:
            whole = Whole(info.exported_at.astimezone(UTC), info.limit)
            missing = MissingRecords(target, newest, whole) if info.is_snapshot else None
            selection = ExportSelection(target, newest, missing)
            rejects = Rejects(table, target.known_at, selection.ignored_in_quarantine())
            with_deletions = DeletionsSelection(selection, target, newest, _NO_DELETIONS)
            # Each export brings a rejected record again: it waits where it came first.
            landing = self._writer(target, with_deletions, rejects=rejects).write(pages, waiting_in="*")
            if not info.is_snapshot:
                return landing
            # This comes after the batch: what a crash leaves in quarantine the next whole export releases.
            quarantine, is_gone = self.quarantine(table), partial(selection.no_longer_there, rejects=rejects)
            with explaining(table, window.key):
                released = sum(quarantine.remove(path, is_gone) for path in quarantine.files())
            return dataclasses.replace(landing, released=released)

    def land_unreadable(self, table: RawTable, window: Window, reason: str, known_at: datetime) -> Landing:
        """Land an empty batch where there is none, for a partition that the source doesn't let us read now.

        The partition counts as landed and as unreadable, until it is landed.

        Raises:
            LakeError: as in :meth:`land`.
        """
        target = _target(table, window, known_at)
        with self._landing(table, window, reason), self._newest(table) as newest:
            return self._write_window(target, newest, ())

    def retry(
        self, table: RawTable, window_of_partition: Callable[[str], Window], known_at: datetime
    ) -> list[Landing]:
        """Land the records in quarantine that fit by now, each in the partition that it came in.

        ``window_of_partition`` gives the window of a partition key. Those that still don't fit stay.

        Raises:
            LakeError: the disk is full, or the folder can't be written.
        """
        landings = []
        for path in self.quarantine(table).files():
            window = window_of_partition(partition_in(path))
            with self._alone(table), explaining(table, window.key):
                if not place.exists(path):
                    continue  # Another retry was faster.
                waiting = pl.read_parquet(place.opened(path))
                records = from_json(waiting["record"])
                fits = coerce(table, records).fits
                if not fits.any():
                    continue
                with self._newest(table) as newest:
                    target = _target(table, window, known_at)
                    landings.append(self._write_window(target, newest, [records.filter(fits)]))
                # This comes after the batch. A crash in between lands nothing twice, as versions are told apart.
                self.quarantine(table).remove(path, partial(_these, leaving=fits))
        return landings

    def _write_window(
        self,
        target: Target,
        newest: NewestVersions,
        pages: Iterable[pl.DataFrame],
        deletions: Mapping[str, datetime] = _NO_DELETIONS,
        shows_now: bool = False,
    ) -> Landing:
        ahead = self._ahead(target.table)
        window = WindowSelection(self, target, ahead, shows_now)
        selection = DeletionsSelection(window, target, newest, deletions)
        return self._writer(target, selection, ahead=ahead).write(pages)

    def _writer(
        self,
        target: Target,
        selection: Selection,
        *,
        ahead: AheadMarks | None = None,
        rejects: Rejects | None = None,
    ) -> BatchWriter:
        table = target.table
        rejects = rejects or Rejects(table, target.known_at, unhashed_columns(table))
        return BatchWriter(self, target, selection, ahead or self._ahead(table), rejects)

    def _ahead(self, table: RawTable) -> AheadMarks:
        return AheadMarks(self.root, table, lambda: self.newest_cursors(table))

    @contextmanager
    def _landing(self, table: RawTable, window: Window, unreadable_because: str | None = None) -> Iterator[None]:
        """One landing of a partition: alone, and with the marks that say how far the partition has landed."""
        with self._alone(table):
            marks, batches = self.marks(table), partial(self.batches_of, table, window.key)
            with marks.around_landing(window, batches, unreadable_because):
                yield

    @contextmanager
    def _alone(self, table: RawTable) -> Iterator[None]:
        """One writer of a table at a time; a process that dies releases the lock by dying."""
        folder = self.table_workshop(table)
        with explaining(table, "all partitions"):
            place.make_folder(folder)
        with FileLock(folder / ".lock"):
            yield

    # -- tables that are gone ------------------------------------------------------------------------------------

    def forget(self, table: RawTable, at: datetime) -> None:
        """Keep that the table's owner says that it is gone. What has landed stays.

        Raises:
            LakeError: the folder can't be written.
        """
        with self._alone(table):
            self.marks(table).forget(at)

    def remember(self, table: RawTable) -> None:
        """Undo :meth:`forget`: the table can be read."""
        self.marks(table).remember()

    # -- compaction ---------------------------------------------------------------------------------------------

    def compact(self, table: RawTable, keep_days: int = KEPT_DAYS) -> Compaction:
        """Merge a table's batches of each month that is over into one file, but for the last days' months.

        Versions, batch ids and the times at which they were known stay. A month is merged once all of its
        partitions are more than ``keep_days`` older than the newest that has landed; a batch that comes later into
        such a month joins its file the next time. Only files whose columns have equal types are merged. The files
        merged stay until :meth:`remove_replaced`, but do not count.

        Raises:
            LakeError: a file can't be read, the disk is full, or the folder can't be written. Nothing is lost.
            ValueError: ``keep_days`` are fewer than :data:`~gtm_assets.settings.KEPT_DAYS`.
        """
        if keep_days < KEPT_DAYS:
            raise ValueError(f"{keep_days} days are too few: the last {KEPT_DAYS} keep their own files")
        with self._alone(table), explaining(table, "compaction"):
            return compaction.compact(self, table, keep_days)

    def remove_replaced(self, table: RawTable) -> int:
        """Remove the files that do not count any more, and return their number.

        Whoever has listed the table before they were replaced must have done with them.

        Raises:
            LakeError: a folder can't be written.
        """
        with self._alone(table), explaining(table, "compaction"):
            paths = compaction.replaced(self, table)
            compaction.remove(paths)
        return len(paths)

    # -- erasure ------------------------------------------------------------------------------------------------

    def erase(self, table: RawTable) -> Rewriting:
        """Rewrite what of a table holds what identifies those whom the ledger names, quarantine included.

        It may be done again at any time, and goes on where it was ended. Files that were merged into others must
        have been removed.

        Raises:
            LakeError: a file can't be read, the disk is full, or the folder can't be written. Each file is as it
                was or rewritten whole.
        """
        with self._alone(table), explaining(table, "erasure"):
            return rewriting.rewrite(self, table, self.ledger.of(table))

    # -- retention ----------------------------------------------------------------------------------------------

    def retain(self, table: RawTable, before: datetime, is_dry: bool = False) -> Retention:
        """Let go of the versions of a table that were superseded before an instant; with ``is_dry`` only count.

        It may be done again at any time, and goes on where it was ended. What is known as of that instant, or
        later, stays what it was.

        Raises:
            LakeError: a file can't be read, the disk is full, or the folder can't be written. Each file is as it
                was or rewritten whole.
        """
        with self._alone(table), explaining(table, "retention"):
            return retention.retain(self, table, before, is_dry)

    def replaced(self, table: RawTable) -> list[Place]:
        """The table's files that do not count any more: a merged file lists all that they hold."""
        return compaction.replaced(self, table)


def _these(_: pl.DataFrame, leaving: pl.Series) -> pl.Series:
    """The records that leave quarantine, where this is known before its file is read."""
    return leaving


def _target(table: RawTable, window: Window, known_at: datetime) -> Target:
    return Target(table, window, known_at.astimezone(UTC))
