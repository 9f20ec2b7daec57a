"""The small files beside a table's batches that say what the batches alone do not.

| file | says |
|---|---|
| ``partition=<day>/until=<minute>Z`` | the partition has landed early, up to this minute, and not yet to its end |
| ``partition=<day>/owed`` | the source did not let us read the partition; holds the reason |
| ``retained`` | what was superseded before is not kept any more; holds the instant |
| ``forgotten`` | the table's owner has said that it is gone; holds when |
| ``ahead/<day>`` | the partition holds records of after its window's end; holds the greatest cursor of these |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.files import PARTITION_DIR, Batch, explaining, partition_in
from gtm_assets.partitions import Window, end_of
from gtm_assets.place import Place

_UNREADABLE = "owed"
_UNTIL, _ANY_UNTIL = "until=%Y-%m-%dT%H%MZ", "until=*"
_FORGOTTEN = "forgotten"
_RETAINED = "retained"
_AHEAD = "ahead"


class Marks:
    """The marks of one table. Whoever writes one holds the table's lock."""

    def __init__(self, root: Place, table: RawTable) -> None:
        """The marks of ``table`` in the lake under ``root``."""
        self._table = table
        self._folder = root / table.source / table.name

    # -- of a partition ------------------------------------------------------------------------------------------

    @contextmanager
    def around_landing(
        self, window: Window, batches: Callable[[], Sequence[Batch]], unreadable_because: str | None = None
    ) -> Iterator[None]:
        """Keep a partition's marks true while it lands.

        ``batches`` lists the partition's batches. ``unreadable_because`` is why the source does not let
        us read it; None where it does, and then the mark that says so goes, and the table is remembered.
        """
        folder = self._partition(window.key)
        with explaining(self._table, window.key):
            place.make_folder(folder)
            # Marks come before the batch: a partition with a batch and no mark counts as read and as over.
            if unreadable_because is not None:
                place.write(folder / _UNREADABLE, unreadable_because)
            early = self._early(window.key)
            until = None
            # Where the partition has landed to its end meanwhile, an early landing does not open it again.
            if window.is_open and (early or not batches()):
                until = max([*early, f"{window.end:{_UNTIL}}"])
                if not early:
                    place.write(folder / until, "")
        yield
        with explaining(self._table, window.key):
            if unreadable_because is None:
                self._clear_unreadable(folder)
            if until is not None:
                place.write(folder / until, "")
            for name in early:
                if name != until:
                    place.remove(folder / name)

    def _clear_unreadable(self, folder: Place) -> None:
        place.remove(folder / _UNREADABLE)
        self.remember()

    def is_early(self, partition: str) -> bool:
        """Whether a partition has landed early and not yet to its end."""
        return is_early(self._partition(partition))

    def _early(self, partition: str) -> list[str]:
        return [path.name for path in place.found(self._partition(partition), _ANY_UNTIL)]

    def landed_early(self) -> dict[str, datetime]:
        """Partitions that have landed early and not yet to their end, each with up to when, UTC."""
        found: dict[str, datetime] = {}
        for path in place.found(self._folder, f"{PARTITION_DIR.format('*')}/{_ANY_UNTIL}"):
            found[partition_in(path)] = datetime.strptime(path.name, _UNTIL).replace(tzinfo=UTC)
        return found

    def unreadable_partitions(self) -> list[str]:
        """Keys of the partitions that landed empty because the table could not be read, oldest first."""
        marks = place.found(self._folder, f"{PARTITION_DIR.format('*')}/{_UNREADABLE}")
        return [partition_in(path) for path in marks]

    def unreadable_reason(self, partition: str) -> str:
        """Why a partition of :meth:`unreadable_partitions` could not be read."""
        return place.text_of(self._partition(partition) / _UNREADABLE)

    def _partition(self, key: str) -> Place:
        return self._folder / PARTITION_DIR.format(key)

    # -- of the table --------------------------------------------------------------------------------------------

    def forget(self, at: datetime) -> None:
        """Keep that the table's owner says that it is gone.

        Raises:
            LakeError: the folder can't be written.
        """
        with explaining(self._table, "all partitions"):
            place.replace(self._folder / _FORGOTTEN, at.astimezone(UTC).isoformat())

    def remember(self) -> None:
        """Undo :meth:`forget`."""
        place.remove(self._folder / _FORGOTTEN)

    def forgotten(self) -> datetime | None:
        """When the table's owner said that it is gone, UTC; None where nobody said so."""
        with suppress(FileNotFoundError):
            return datetime.fromisoformat(place.text_of(self._folder / _FORGOTTEN))
        return None

    def retain(self, since: datetime) -> None:
        """Keep that versions which were superseded before an instant may be gone.

        Raises:
            LakeError: the folder can't be written.
        """
        with explaining(self._table, "all partitions"):
            since = max(since.astimezone(UTC), self.retained_since() or since)
            place.replace(self._folder / _RETAINED, since.isoformat())

    def retained_since(self) -> datetime | None:
        """Since when all versions are there, UTC; None where none was let go of."""
        with suppress(FileNotFoundError):
            return datetime.fromisoformat(place.text_of(self._folder / _RETAINED))
        return None


def is_early(folder: Place) -> bool:
    """Whether a partition has landed early and not yet to its end, by its folder."""
    return bool(place.found(folder, _ANY_UNTIL))


class AheadMarks:
    """Which partitions of a table hold records of after their window's end.

    A later partition may bring such a record again, and has to look there. A mark is written before its batch and
    is never removed. The caller holds the table's lock for as long as it uses these.
    """

    def __init__(self, root: Place, table: RawTable, newest_cursors: Callable[[], Mapping[str, datetime]]) -> None:
        """The marks of ``table`` in the lake under ``root``.

        ``newest_cursors`` gives the greatest cursor of each landed partition. It is asked once in a table's life:
        for what landed before there were such marks.
        """
        self._folder = root / table.source / table.name / _AHEAD
        self._newest_cursors = newest_cursors

    @cached_property
    def newest(self) -> dict[str, datetime]:
        """The partitions with records of after their window's end: the greatest cursor of these by key."""
        marks = place.made(self._folder)
        if marks is None:
            ahead = {key: newest for key, newest in self._newest_cursors().items() if newest > end_of(key)}
            place.make_whole(self._folder, {key: newest.isoformat() for key, newest in ahead.items()})
            return ahead
        return {mark.name: _instant_in(mark) for mark in marks}

    def mark(self, window: Window, newest: datetime | None) -> None:
        """Say that a partition holds records of after its window's end, where ``newest``, its last cursor, is."""
        marked = self.newest
        if newest is None or newest <= window.end:
            return
        newest = max(newest, marked.get(window.key, newest))
        place.replace(self._folder / window.key, newest.isoformat())


def _instant_in(mark: Place) -> datetime:
    """The instant that a mark holds. An unreadable mark stands for every instant, which costs one file more."""
    try:
        return datetime.fromisoformat(place.text_of(mark))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
