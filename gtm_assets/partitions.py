"""Daily partitions and the extraction windows that they stand for.

Key D covers D 21:49 → D+1 21:49 America/Los_Angeles: the day ends when its daily run begins, in summer and in
winter time. The first partition also holds all history before its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import dagster as dg

from gtm_assets.settings import Settings

TIMEZONE = "America/Los_Angeles"
BOUNDARY = time(21, 49)
BATCH_SIZE = 31
"""How many partitions one run lands at most."""


class PartitionError(ValueError):
    """A partition key is not one of the calendar's, or is not over yet. The message says what to ask for."""


@dataclass(frozen=True)
class Window:
    """What one partition extracts: cursors ``>= start`` and ``< end``, both UTC. The first has no start."""

    key: str
    start: datetime | None
    end: datetime


def boundary(day: date) -> datetime:
    """The instant, in UTC, at which partition ``day`` begins and the one before it ends."""
    return datetime.combine(day, BOUNDARY, ZoneInfo(TIMEZONE)).astimezone(UTC)


@dataclass(frozen=True)
class Calendar:
    """The daily partitions from ``first`` to ``last`` (None: they go on with the calendar)."""

    first: date
    last: date | None

    @classmethod
    def of(cls, settings: Settings) -> Calendar:
        """The calendar that the settings ask for."""
        return cls(settings.start_date, settings.last_partition)

    def definition(self) -> dg.DailyPartitionsDefinition:
        """The calendar as Dagster's partitions."""
        # Dagster keeps the partitions that end by this midnight: two days on, since the last ends at 21:49.
        end = None if self.last is None else (self.last + timedelta(days=2)).isoformat()
        return dg.DailyPartitionsDefinition(
            start_date=self.first.isoformat(),
            end_date=end,
            timezone=TIMEZONE,
            hour_offset=BOUNDARY.hour,
            minute_offset=BOUNDARY.minute,
        )

    def window(self, key: str) -> Window:
        """The extraction window of a partition.

        Raises:
            PartitionError: ``key`` is not a day of the calendar.
        """
        day = self._day(key)
        start = None if day == self.first else boundary(day)
        return Window(key, start, boundary(day + timedelta(days=1)))

    def between(self, first: str, last: str) -> list[str]:
        """Keys from ``first`` to ``last``, both included.

        Raises:
            PartitionError: an end is not a day of the calendar.
        """
        low, high = self._day(first), self._day(last)
        return [(low + timedelta(days=n)).isoformat() for n in range((high - low).days + 1)]

    def closed(self, now: datetime) -> list[str]:
        """Keys of the partitions that are over at ``now``, oldest first."""
        over = takewhile(lambda day: boundary(day + timedelta(days=1)) <= now, self._days())
        return [day.isoformat() for day in over]

    def range(self, first: str | None, last: str | None, now: datetime) -> list[str]:
        """Keys from ``first`` to ``last``, both included; the calendar's ends where None.

        Raises:
            PartitionError: an end is outside the calendar, the range is empty, or its last day is not over.
        """
        keys = self.closed(now)
        if not keys:
            ready = boundary(self.first + timedelta(days=1))
            raise PartitionError(
                f"no partition is over yet: the first, {self.first}, ends {ready:%Y-%m-%d %H:%M} UTC"
            )
        from_day = self._day(first) if first else self.first
        to_day = self._day(last) if last else date.fromisoformat(keys[-1])
        latest = max(from_day, to_day)
        if latest.isoformat() > keys[-1]:
            ends = boundary(latest + timedelta(days=1))
            raise PartitionError(
                f"partition {latest} is not over: it ends {ends:%Y-%m-%d %H:%M} UTC. "
                f"The last that is over is {keys[-1]}."
            )
        if from_day > to_day:
            raise PartitionError(
                f"the range from {from_day} to {to_day} is empty: its first day is after its last"
            )
        return [key for key in keys if from_day.isoformat() <= key <= to_day.isoformat()]

    def _days(self) -> Iterator[date]:
        day = self.first
        while self.last is None or day <= self.last:
            yield day
            day += timedelta(days=1)

    def _day(self, key: str) -> date:
        day = parse_day(key)
        if day < self.first:
            raise PartitionError(f"partition {key} is before the first, {self.first} (GTM_START_DATE)")
        if self.last is not None and day > self.last:
            raise PartitionError(
                f"partition {key} is after the last, {self.last} (GTM_END_DATE; `open` lets it go on)"
            )
        return day


def parse_day(key: str) -> date:
    """The day that a key names.

    Raises:
        PartitionError: it is not a day, written as in ``2026-09-01``.
    """
    try:
        day = date.fromisoformat(key)
        # 20260105 and 2026-W02-1 are days too, but each partition has one key.
        if day.isoformat() == key:
            return day
    except ValueError:
        pass
    raise PartitionError(f"{key!r} is not a partition: partitions are days, such as 2026-09-01")


def batches(keys: list[str], size: int = BATCH_SIZE) -> list[list[str]]:
    """The keys in runs' worth: at most ``size`` each, in order."""
    return [keys[i : i + size] for i in range(0, len(keys), size)]


def partition_of(instant: datetime) -> str:
    """Key of the partition in whose window an instant lies, the calendar's ends aside."""
    local = instant.astimezone(ZoneInfo(TIMEZONE))
    day = local.date() if local.time() >= BOUNDARY else local.date() - timedelta(days=1)
    return day.isoformat()
