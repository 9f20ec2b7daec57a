"""One summary of what a run landed of a table: all that the checks of a raw table look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.files import Batch
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.profile import PARTITION, Profile, profile
from gtm_assets.lake.reader import LakeReader

RECENT_DAYS = 28
"""The newest partition is compared with this number of days before it."""
_SAMPLE = 10


@dataclass(frozen=True)
class Hole:
    """What a partition lacks because it waits in quarantine."""

    partition: str
    missing: int
    """Records that wait and that have not landed in this partition or a later one."""
    landed: int
    """Versions that landed in it; of a table that is taken whole, records that the lake has."""


@dataclass(frozen=True)
class Waiting:
    """The records of a table that wait in quarantine."""

    table: RawTable
    records: int
    holes: tuple[Hole, ...] = ()
    sample: tuple[Mapping[str, str | None], ...] = ()
    """The first of them: partition, record_id, reason."""


@dataclass(frozen=True)
class Access:
    """Whether the source lets us read a table, and what we know of it where it does not."""

    table: RawTable
    refusal: str | None
    """Why the source does not let us read it; None where it does."""
    alive: int = 0
    """Records that are not deleted as far as the lake knows. Counted only where the table can't be read."""
    forgotten_at: datetime | None = None
    """When the table's owner said that it is gone, UTC."""


@dataclass(frozen=True)
class LandingSummary:
    """What one run landed of a table, and what the lake held beside it right after."""

    landings: tuple[Landing, ...]
    """Of the run, oldest partition first. There is at least one."""
    recent_counts: Mapping[str, int]
    """Versions of the newest landed partition and of the 28 days before it, by key, the calendar's first aside."""
    columns_with_values: frozenset[str]
    """Columns that had a value before the newest landed partition."""
    waiting: Waiting
    access: Access
    profile: Profile | None = field(default=None, repr=False)
    """Of the newest landed partition. None where it is still open, or there is too little to compare with."""

    @property
    def table(self) -> RawTable:
        """The table that was landed."""
        return self.newest.table

    @property
    def newest(self) -> Landing:
        """The landing of the run's newest partition."""
        return self.landings[-1]


def summarize(
    reader: LakeReader, landings: Sequence[Landing], first: str, refusal: str | None = None
) -> LandingSummary:
    """The summary of what one run landed of a table.

    ``first`` is the key of the calendar's first partition, which holds all history and is like no other day.
    ``refusal`` is why the source did not let us read the table; None where it did.

    Raises:
        LakeError: a file can't be read.
    """
    newest = landings[-1]
    table, key = newest.table, newest.partition
    batches = reader.batches(table)
    since = (date.fromisoformat(key) - timedelta(RECENT_DAYS)).isoformat()
    recent = [b for b in batches if max(since, first) <= b.partition <= key and b.partition != first]
    counts = {batch.partition: 0 for batch in recent}
    records = pl.DataFrame()
    if recent:
        records = reader.versions(recent, list(table.types))
        counts |= dict(records.group_by(PARTITION).len().iter_rows())
    # A column that was not returned is drift, and not a matter of its values.
    returned = set(records.columns) - set(newest.missing_columns)
    types = {name: type_ for name, type_ in table.types.items() if name in returned}
    return LandingSummary(
        landings=tuple(landings),
        recent_counts=counts,
        columns_with_values=_columns_with_values(reader, newest, records, batches),
        waiting=waiting(reader, table),
        access=access(reader, table, refusal),
        profile=None if newest.is_open or records.is_empty() else profile(records, types, key),
    )


def _columns_with_values(
    reader: LakeReader, newest: Landing, recent: pl.DataFrame, batches: Sequence[Batch]
) -> frozenset[str]:
    before = recent if recent.is_empty() else recent.filter(pl.col(PARTITION) != newest.partition)
    if before.is_empty():
        # The table came whole in its first partition, or it rarely changes.
        earlier = [batch for batch in batches if batch.partition < newest.partition]
        before = reader.versions(earlier, list(newest.table.types))
    return frozenset(name for name in before.columns if before[name].null_count() < before.height)


def waiting(reader: LakeReader, table: RawTable) -> Waiting:
    """What of a table waits in quarantine now.

    Raises:
        LakeError: a file can't be read.
    """
    records = reader.quarantined(table)
    if records.is_empty():
        return Waiting(table, 0)
    landed = reader.versions(reader.batches(table), [table.id_column])
    holes = _hole_of_the_whole(table, records, landed) if table.is_taken_whole else _holes(table, records, landed)
    sample = records.head(_SAMPLE).select("partition", "record_id", "reason")
    return Waiting(table, records.height, tuple(holes), tuple(sample.to_dicts()))


def _holes(table: RawTable, records: pl.DataFrame, landed: pl.DataFrame) -> list[Hole]:
    """What each partition lacks. A record that has landed there or later, repaired, is no longer missing."""
    holes = []
    for (partition,), waiting_there in records.group_by("partition", maintain_order=True):
        later = landed.filter(pl.col(PARTITION) >= partition)[table.id_column]
        missing = waiting_there.filter(~pl.col("record_id").is_in(later.implode()).fill_null(False))
        there = landed.filter(pl.col(PARTITION) == partition)
        holes.append(Hole(partition, missing.height, there.height))
    return holes


def _hole_of_the_whole(table: RawTable, records: pl.DataFrame, landed: pl.DataFrame) -> list[Hole]:
    """Of a table that is taken whole each time: what is missing and what there is, by the newest partition."""
    last = landed.group_by(table.id_column).agg(pl.col(PARTITION).max().alias("_last"))
    seen = records.join(last, left_on="record_id", right_on=table.id_column, how="left")
    missing = seen.filter((pl.col("_last") < pl.col("partition")).fill_null(True))
    newest = records["partition"].max()
    assert isinstance(newest, str)
    return [Hole(newest, missing.height, last.height)]


def access(reader: LakeReader, table: RawTable, refusal: str | None) -> Access:
    """Whether the source lets us read a table. ``refusal`` is why it does not; None where it does.

    Raises:
        LakeError: a file can't be read.
    """
    if not refusal:
        return Access(table, None)
    return Access(table, refusal, reader.alive(table), reader.forgotten(table))
