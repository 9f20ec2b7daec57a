"""Writing one batch: beside its place, page by page, and into its place when it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from gtm_assets import place
from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.errors import LakeError
from gtm_assets.lake import files
from gtm_assets.lake.coerce import CoercedPage, coerce
from gtm_assets.lake.columns import LOADER_COLUMNS, SYNCED
from gtm_assets.lake.files import LIST, MONTH_DIR, explaining, read_list, with_ending
from gtm_assets.lake.hashes import HASH, WrittenHashes
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.marks import AheadMarks
from gtm_assets.lake.quarantine import Quarantine, Rejects
from gtm_assets.lake.reader import LakeReader
from gtm_assets.lake.selections import Selection, Target
from gtm_assets.lake.spool import Spool


@dataclass
class _Counts:
    """What the pages held that have come so far."""

    received: int = 0
    added: int = 0
    newest: datetime | None = None
    unknown: set[str] = field(default_factory=set)
    missing: set[str] | None = None
    repaired: Counter[str] = field(default_factory=Counter)

    def note(self, page: CoercedPage) -> None:
        if page.frame.is_empty():
            return  # A source that found nothing may not name its columns.
        self.received += page.frame.height
        self.unknown.update(page.unknown_columns)
        self.repaired.update(page.repaired)
        missing = set(page.missing_columns)
        self.missing = missing if self.missing is None else self.missing & missing


class BatchWriter:
    """The writer of one batch. The caller holds the table's lock."""

    def __init__(
        self, reader: LakeReader, target: Target, selection: Selection, ahead: AheadMarks, rejects: Rejects
    ) -> None:
        """Nothing is written yet. ``rejects`` takes the records that do not fit."""
        self._reader, self._target, self._selection = reader, target, selection
        self._ahead, self._rejects = ahead, rejects
        self._table, self._window = target.table, target.window
        self._folder = reader.partition_dir(target.table, target.window.key)
        self._workshop = reader.table_workshop(target.table) / self._folder.name
        self._counts, self._written = _Counts(), WrittenHashes()
        self._erased = reader.ledger.of(target.table)

    def write(self, pages: Iterable[pl.DataFrame], waiting_in: str | None = None) -> Landing:
        """Land what the selection takes of the pages: one new batch, or none where nothing is new.

        A partition that has no batch yet gets one even where nothing was found. Memory holds one page. A rejected
        record that waits already in partition ``waiting_in`` (``*``: any) is not kept again; the default is the
        partition that is landed.

        Raises:
            LakeError: the disk is full, the folder can't be written, or the source returned a column that only
                the lake writes. Nothing was landed.
        """
        with self._explaining():
            place.make_folder(self._folder)
            place.make_folder(self._workshop)
            is_first = self._clear_up()
            batch_id = self._next_batch_id()
            self._selection.prepare()
            spool = Spool(self._workshop / f".{batch_id}.tmp", self._table)
        try:
            for page in pages:
                with self._explaining():
                    spool.write(self._versions_of(page, batch_id))
            with self._explaining():
                for versions in self._selection.tombstones():
                    spool.write(self._stamped(versions, batch_id))
                batch = spool.close(empty_too=is_first)
                self._erased.keep_found()
                # Write the quarantine first: once the batch is in its place, the partition counts as landed.
                quarantined = Quarantine(self._reader.root, self._table).add(
                    self._rejects.records, self._window.key, batch_id, waiting_in or self._window.key
                )
                size = batch.stat().st_size if batch else 0
                if batch:
                    self._ahead.mark(self._window, self._counts.newest)
                    place.put_new(batch, self._folder / f"{batch_id}.parquet")
        finally:
            spool.discard()
        return self._landing(batch_id if batch else None, size, quarantined)

    def _versions_of(self, page: pl.DataFrame, batch_id: str) -> pl.DataFrame:
        """What of a page is written. Nothing else of the page is kept but what does not fit."""
        self._refuse_loader_columns(page)
        page = self._erased.without(page)
        coerced = coerce(self._table, page)
        self._counts.note(coerced)
        self._rejects.take(page, coerced, batch_id)
        return self._stamped(self._written.absent_of(self._selection.new_versions(coerced)), batch_id)

    def _explaining(self) -> AbstractContextManager[None]:
        return explaining(self._table, self._window.key)

    def _clear_up(self) -> bool:
        """Remove what a killed landing left and put unreadable files aside. Return whether no batch is left."""
        for leftover in self._workshop.glob(".*.tmp"):
            leftover.unlink()
        whole = 0
        for batch in self._reader.batches_of(self._table, self._window.key):
            error = None if files.is_merged(batch.path) else files.fault(batch.path)
            if error is None:
                whole += 1
            elif files.is_torn(error):
                place.rename(batch.path, batch.path.with_suffix(".unreadable"))
            else:
                self._reader.verify(batch)
        return whole == 0

    def _next_batch_id(self) -> str:
        # Files put aside count too: an id that a model may have consumed is never given again.
        stem = f"{self._table.name}-{self._window.key}-"
        month = self._folder.with_name(MONTH_DIR.format(self._window.key[:7]))
        taken = {
            path.stem for path in place.found(self._folder, "*") if path.suffix in (".parquet", ".unreadable")
        }
        taken |= {
            id_ for path in place.found(month, f"*{LIST}") for id_ in read_list(with_ending(path, ".parquet"))
        }
        numbers = [int(id_.removeprefix(stem)) for id_ in taken if id_.startswith(stem)]
        return f"{stem}{max(numbers, default=-1) + 1:04d}"

    def _refuse_loader_columns(self, page: pl.DataFrame) -> None:
        for name in page.columns:
            if name in LOADER_COLUMNS and name != SYNCED:
                raise LakeError(
                    f"{self._target}: the source returned a column {name}, which only the lake writes. "
                    f"Leave it out of the extraction or rename it; nothing was landed."
                )

    def _stamped(self, frame: pl.DataFrame, batch_id: str) -> pl.DataFrame:
        """The versions with the loader's columns, and counted."""
        now = pl.lit(self._target.known_at, pl.Datetime("us", "UTC"))
        frame = frame.with_columns(
            (pl.col(SYNCED).fill_null(now) if SYNCED in frame.columns else now).alias(SYNCED),
            pl.lit(batch_id).alias("_batch_id"),
            now.alias("_known_at"),
        )
        self._written.add(frame[HASH])
        self._counts.added += frame.height
        newest = frame[self._table.cursor].max()
        if newest is not None:
            assert isinstance(newest, datetime)
            before = self._counts.newest
            self._counts.newest = newest if before is None else max(before, newest)
        return frame

    def _landing(self, batch_id: str | None, size: int, quarantined: int) -> Landing:
        counts, unknown = self._counts, sorted(self._counts.unknown)
        return Landing(
            table=self._table,
            partition=self._window.key,
            batch_id=batch_id,
            received=counts.received,
            added=counts.added,
            quarantined=quarantined,
            bytes=size,
            newest_cursor=counts.newest,
            problems=self._rejects.problems,
            rounded=self._rejects.rounded,
            unknown_columns=tuple(unknown),
            missing_columns=tuple(sorted(counts.missing or ())),
            columns={
                **{name: type_.sql for name, type_ in self._table.types.items()},
                **dict.fromkeys(unknown, ColumnType.STRING.sql),
                **{name: type_.sql for name, type_ in LOADER_COLUMNS.items()},
            },
            until=self._window.end,
            is_open=self._window.is_open,
            hard_deleted=self._selection.hard_deleted,
            repaired=dict(counts.repaired),
        )
