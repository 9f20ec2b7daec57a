"""Which versions of what a source returned a landing writes: one class for each kind of extraction.

A selection answers two questions. ``new_versions`` gives, of a page, the versions to write. ``tombstones`` gives,
once all pages are there, versions that say that records are gone. ``prepare`` reads the lake before the source is
asked, so that an unreadable file costs no extraction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import polars as pl

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import LakeError
from gtm_assets.lake import same_instant
from gtm_assets.lake.coerce import CoercedPage, coerce
from gtm_assets.lake.columns import unhashed_columns
from gtm_assets.lake.hashes import HASH, versions_of, with_hash, without
from gtm_assets.lake.marks import AheadMarks
from gtm_assets.lake.newest import COMPARED, NewestVersions
from gtm_assets.lake.quarantine import RECORD_HASH, Rejects, from_json
from gtm_assets.lake.reader import LakeReader
from gtm_assets.partitions import Window, partition_of
from gtm_assets.settings import HARD_DELETE_LIMIT

MISSING_ALWAYS_ALLOWED = 10
"""This many records may always be missing from a snapshot, as in a small table a few are a large share."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_INSTANT = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Target:
    """What one landing fills."""

    table: RawTable
    window: Window
    known_at: datetime
    """When we saw the records, UTC."""

    def __str__(self) -> str:
        """The table and the partition, as messages name them."""
        return f"{self.table.qualified_name} {self.window.key}"


@dataclass(frozen=True)
class Whole:
    """What is known of an extraction that took all records of a table, or that may have."""

    as_of: datetime
    """The time at which the source was as the records show it."""
    limit: float = HARD_DELETE_LIMIT
    """Share of the live records that may be missing; ten may always be, unless they are all."""


class Selection(Protocol):
    """Which versions one landing writes."""

    @property
    def hard_deleted(self) -> int:
        """Records that the source does not have any more: of the tombstones, those that say so."""
        ...

    def prepare(self) -> None:
        """Read what of the lake is needed for the pages.

        Raises:
            LakeError: a file can't be read.
        """
        ...

    def new_versions(self, page: CoercedPage) -> pl.DataFrame:
        """The versions of a page that the lake does not have, each with ``_version_hash``."""
        ...

    def tombstones(self) -> Iterator[pl.DataFrame]:
        """Once all pages were given: versions that say that records are gone."""
        ...


class WindowSelection:
    """An extraction of what changed in one window: the versions that no landing has brought before."""

    hard_deleted = 0

    def __init__(self, reader: LakeReader, target: Target, ahead: AheadMarks, shows_now: bool) -> None:
        """``ahead`` are the table's marks of records of after their window's end.

        ``shows_now`` says whether the pages show records as they are now, and not as they were once.
        """
        self._reader, self._table, self._window, self._ahead = reader, target.table, target.window, ahead
        self._shows_now = shows_now and not target.table.is_append_only
        self._landed: dict[str, pl.Series] = {}
        self._may_count: list[pl.DataFrame] = []

    def prepare(self) -> None:
        """Nothing: partitions are opened as the pages call for them."""

    def new_versions(self, page: CoercedPage) -> pl.DataFrame:
        """The versions that neither this partition nor an earlier one that may hold them has landed.

        One that has another content than a version landed with the same cursor comes just after that.
        """
        versions = versions_of(self._table, page)
        new = without(versions, [self._landed_in(self._window.key), *self._landed_earlier(versions)])
        shown = same_instant.shown_otherwise(self._table, versions, self._may_count, self._window.key)
        if shown is None:
            return new
        later = same_instant.just_after(self._table, shown)
        return pl.concat([without(new, [shown[HASH]]), later.select(new.columns)])

    def tombstones(self) -> Iterator[pl.DataFrame]:
        """None: what an extraction of one window lacks did not change in it."""
        return iter(())

    def _landed_earlier(self, versions: pl.DataFrame) -> list[pl.Series]:
        """Hashes landed by the earlier partitions that may hold a record of this page.

        Those are the partitions to which late records belong, and those that hold records of after their window's
        end. Only these are opened, so the cost depends on how late records are and not on how long the history is.
        """
        oldest, start = versions[self._table.cursor].min(), self._window.start
        if oldest is None or start is None:
            return []
        assert isinstance(oldest, datetime)
        key = self._window.key
        earlier = {ahead for ahead, newest in self._ahead.newest.items() if ahead < key and newest >= oldest}
        # A boundary counts as the end, too: what a full extraction detects is stamped with its window's end.
        if oldest <= start:
            since = partition_of(oldest - timedelta(microseconds=1))
            earlier.update(landed for landed in self._reader.partitions(self._table) if since <= landed < key)
        return [self._landed_in(partition) for partition in sorted(earlier)]

    def _landed_in(self, partition: str) -> pl.Series:
        if partition not in self._landed:
            batches = self._reader.batches_of(self._table, partition)
            columns = same_instant.columns(self._table) if self._shows_now else [HASH]
            landed = self._reader.versions(batches, columns)
            self._landed[partition] = landed[HASH].cast(pl.String)
            if self._shows_now and not landed.is_empty():
                is_own = partition == self._window.key
                self._may_count.append(landed if is_own else same_instant.just_after_others(self._table, landed))
        return self._landed[partition]


class SnapshotSelection:
    """All records of a table as they are at the end of a window.

    Records that changed at the window's end or later are left alone, in the lake as in the pages: their own
    partition brings them.
    """

    def __init__(self, target: Target, newest: NewestVersions, missing: MissingRecords) -> None:
        """``missing`` finds the records that the lake has and the pages do not."""
        self._table, self._end, self._newest, self._missing = target.table, target.window.end, newest, missing

    @property
    def hard_deleted(self) -> int:
        """Records that the pages do not have."""
        return self._missing.hard_deleted

    def prepare(self) -> None:
        """Read the newest version of each record."""
        self._newest.load()

    def new_versions(self, page: CoercedPage) -> pl.DataFrame:
        """Versions later than the newest that the lake has, and those that differ from it without being later.

        The latter are stamped with the time of their detection, the window's end.
        """
        self._missing.note(page)
        versions = versions_of(self._table, page)
        cursor, end = self._table.cursor, pl.lit(self._end, _INSTANT)
        frame = self._newest.beside(versions)
        frame = frame.filter(
            pl.col(cursor) < end,
            pl.col("newest_cursor").is_null() | (pl.col("newest_cursor") < end),
            pl.col("newest_hash").is_null() | (pl.col("newest_hash") != pl.col(HASH)),
        )
        is_later = pl.col("newest_cursor").is_null() | (pl.col(cursor) > pl.col("newest_cursor"))
        found = frame.filter(is_later).drop(COMPARED)
        if self._table.is_append_only:
            return found
        restated = self._newest.differing(frame.filter(~is_later), page.missing_columns)
        restated = restated.drop(HASH, *COMPARED, strict=False).with_columns(end.alias(cursor))
        return pl.concat([found, with_hash(self._table, restated).select(found.columns)])

    def tombstones(self) -> Iterator[pl.DataFrame]:
        """Of each record that the pages do not have, and that the lake has alive."""
        return self._missing.tombstones()


class ExportSelection:
    """An export, which holds records whatever their time, and all of them or a piece of the whole.

    New is a record that the lake does not have, or whose content is not that of its newest version.
    """

    def __init__(self, target: Target, newest: NewestVersions, missing: MissingRecords | None) -> None:
        """``missing`` finds the records that the export lacks; None where it is a piece of the whole."""
        self._table, self._newest, self._missing = target.table, newest, missing

    @property
    def hard_deleted(self) -> int:
        """Records that a whole export does not have."""
        return self._missing.hard_deleted if self._missing else 0

    def prepare(self) -> None:
        """Read the newest version of each record."""
        self._newest.load()

    def new_versions(self, page: CoercedPage) -> pl.DataFrame:
        """Records that the lake does not have; those that differ from the newest version, or from an older one.

        A version that replaces another of the same instant gets a cursor just after it. One that is older than the
        newest is compared with the version that was in force at its time.
        """
        if self._missing:
            self._missing.note(page)
        versions = versions_of(self._table, page)
        cursor, newest, columns = pl.col(self._table.cursor), pl.col("newest_cursor"), versions.columns
        frame = self._newest.beside(versions)
        found = [frame.filter(newest.is_null()).select(columns)]
        if not self._table.is_append_only:
            differing = self._newest.differing(frame.filter(newest.is_not_null()), page.missing_columns)
            just_after = newest + pl.duration(microseconds=1)
            replacing = differing.filter(cursor >= newest).with_columns(
                pl.when(cursor == newest).then(just_after).otherwise(cursor).alias(self._table.cursor)
            )
            found.append(with_hash(self._table, replacing.select(columns).drop(HASH)).select(columns))
            older = self._newest.beside_in_force(differing.filter(cursor < newest))
            older = older.filter(~pl.col("is_known")).drop("is_known")
            first = older.filter(pl.col("newest_hash").is_null())
            changed = older.filter(pl.col("newest_hash").is_not_null())
            changed = self._newest.differing(changed, page.missing_columns)
            found += [first.select(columns), changed.select(columns)]
        return pl.concat(found)

    def tombstones(self) -> Iterator[pl.DataFrame]:
        """Of each record that a whole export does not have, and that the lake has alive."""
        return self._missing.tombstones() if self._missing else iter(())

    def ignored_in_quarantine(self) -> frozenset[str]:
        """Columns that we make and not the source: each export brings the same record with another time."""
        return ignored_in_quarantine(self._table)

    def no_longer_there(self, waiting: pl.DataFrame, rejects: Rejects) -> pl.Series:
        """Of records in quarantine, whether this export no longer has them; false for a piece of the whole.

        An export has a record where it has its id, or a row of the same content that does not fit either:
        ``rejects`` are its own. What came in a later export than this one is not judged.
        """
        if not self._missing:
            return pl.Series([False]).new_from_index(0, waiting.height)
        records = coerce(self._table, from_json(waiting["record"])).frame
        is_there = self._newest.are_present(records[self._table.id_column])
        is_there |= waiting[RECORD_HASH].is_in(rejects.records[RECORD_HASH].implode())
        is_later = (records[self._table.cursor] > self._missing.whole.as_of).fill_null(False)
        return ~(is_there | is_later)


def ignored_in_quarantine(table: RawTable) -> frozenset[str]:
    """The columns by which two records in quarantine are not told apart."""
    made = {column.name for column in table.columns if not column.api_name}
    # Where the time of a version is ours, each export brings the same record with another.
    ours = made - {table.id_column} if table.cursor in made else set()
    return unhashed_columns(table) | ours


class DeletionsSelection:
    """What another selection takes, and the deletions that the source or a rejected version reports.

    A version that says that its record is deleted and does not fit waits in quarantine. Then the content of the
    record's newest version in the lake is marked as deleted.
    """

    def __init__(
        self, inner: Selection, target: Target, newest: NewestVersions, reported: Mapping[str, datetime]
    ) -> None:
        """``reported`` are ids of records that the source says are gone, each with when."""
        self._inner, self._table, self._end, self._newest = inner, target.table, target.window.end, newest
        self._reported, self._rejected = reported, dict[str, datetime]()
        self._reported_gone = 0

    @property
    def hard_deleted(self) -> int:
        """Records that the source says are gone, and those of the other selection."""
        return self._reported_gone + self._inner.hard_deleted

    def prepare(self) -> None:
        """Read the newest version of each record where the source reports deletions."""
        self._inner.prepare()
        if self._reported:
            self._newest.load()

    def new_versions(self, page: CoercedPage) -> pl.DataFrame:
        """Those of the other selection."""
        self._note_rejected(page)
        return self._inner.new_versions(page)

    def tombstones(self) -> Iterator[pl.DataFrame]:
        """Of each record that is alive in the lake before the time at which it is said to be deleted."""
        if self._rejected:
            yield from self._newest.tombstones(self._newest.deleted(self._rejected))
        yield from self._inner.tombstones()
        if self._reported:
            for versions in self._newest.tombstones(self._newest.deleted(self._reported)):
                self._reported_gone += versions.height
                yield versions

    def _note_rejected(self, page: CoercedPage) -> None:
        if not page.rejects:
            return
        mark, id_column = pl.col(self._table.deletes.value), self._table.id_column
        deleted = page.frame.filter(~page.fits).filter(mark.fill_null(False) & pl.col(id_column).is_not_null())
        for id_, at in deleted.select(id_column, self._table.cursor).iter_rows():
            self._rejected[id_] = max(at or self._end, self._rejected.get(id_, _EARLIEST))


class MissingRecords:
    """The records that the lake has alive and that an extraction of all records does not have."""

    def __init__(self, target: Target, newest: NewestVersions, whole: Whole) -> None:
        """``whole`` says as of when the extraction took all, and how many records may be missing."""
        self._target, self._newest, self.whole = target, newest, whole
        self._all_have_ids = True
        self.hard_deleted = 0

    def note(self, page: CoercedPage) -> None:
        """Take the records of a page as present, those in quarantine included."""
        ids = page.frame[self._target.table.id_column]
        self._all_have_ids &= not ids.has_nulls()
        self._newest.note_present(ids.drop_nulls())

    def tombstones(self) -> Iterator[pl.DataFrame]:
        """Versions that say that the missing records are gone.

        Of a table whose records never change nothing counts as deleted: the source purges old history.

        Raises:
            LakeError: more are missing than the limit allows, or records without id make it impossible to tell.
        """
        if self._target.table.is_append_only:
            return
        live = self._newest.alive_before(self.whole.as_of)
        gone = self._newest.absent_at(self.whole.as_of)
        self._refuse_too_many(gone.height, live)
        for versions in self._newest.tombstones(gone):
            self.hard_deleted += versions.height
            yield versions

    def _refuse_too_many(self, gone: int, live: int) -> None:
        limit = self.whole.limit
        if gone and not self._all_have_ids:
            raise LakeError(
                f"{self._target}: the full extraction returned records without {self._target.table.id_column}, so "
                f"it can't tell which of {gone:,} missing records are gone. Nothing was landed. Look at the "
                f"source's answer."
            )
        allowed = max(limit * live, MISSING_ALWAYS_ALLOWED)
        if gone <= allowed and (gone < live or gone == 0 or limit == 1):
            return
        raise LakeError(
            f"{self._target}: the full extraction lacks {gone:,} of {live:,} live records, more than "
            f"GTM_HARD_DELETE_LIMIT ({limit:.0%}) allows. Nothing was landed. "
            f"See whether the source still lets us read all records. "
            f"If they were deleted: GTM_HARD_DELETE_LIMIT=1 gtm run --full-extraction"
        )
