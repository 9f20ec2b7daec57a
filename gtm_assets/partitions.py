"""Daily partitions and the extraction windows that they stand for.

Key D covers D 21:49 → D+1 21:49 America/Los_Angeles: the day ends when its daily run begins, in summer and in
winter time. The first partition also holds all history before its end. A partition that is still open may be
landed early, up to the last whole minute, and is landed again when it is over.

A state folder keeps its first partition in ``calendar.json``, so that every process and every later run has the
same calendar.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from filelock import FileLock

from gtm_assets import clock, place
from gtm_assets.errors import GtmError
from gtm_assets.settings import Settings, SettingsError

if TYPE_CHECKING:
    from dagster import DailyPartitionsDefinition

TIMEZONE = "America/Los_Angeles"
BOUNDARY = time(21, 49)
BATCH_SIZE = 31
"""How many partitions one run lands at most."""
FIRST_DAYS = 30
"""So many partitions are over when a state folder begins, where no setting says with which it does."""
FORMER_FIRST = date(2026, 9, 1)
"""First partition of state folders from before they kept it, unless GTM_START_DATE said another. They had 30."""


class PartitionError(GtmError):
    """A partition key is not one of the calendar's, or is not over yet. The message says what to ask for."""


@dataclass(frozen=True)
class Window:
    """What one partition extracts: cursors ``>= start`` and ``< end``, both UTC. The first has no start."""

    key: str
    start: datetime | None
    end: datetime
    is_open: bool = False
    """Whether the partition goes on after ``end``: it is landed early."""


def boundary(day: date) -> datetime:
    """The instant, in UTC, at which partition ``day`` begins and the one before it ends."""
    return datetime.combine(day, BOUNDARY, ZoneInfo(TIMEZONE)).astimezone(UTC)


def end_of(key: str) -> datetime:
    """The instant, in UTC, at which a partition is over."""
    return boundary(date.fromisoformat(key) + timedelta(days=1))


def minute_of(now: datetime) -> datetime:
    """The last whole minute: up to it a partition that is still open is landed."""
    return now.astimezone(UTC).replace(second=0, microsecond=0)


def refresh_of(now: datetime, minutes: int) -> datetime:
    """The newest instant up to ``now``, UTC, that lies so many whole intervals of ``minutes`` after a boundary.

    In summer and winter time a partition has whole hours, so its end is the last of them.
    """
    begin = boundary(date.fromisoformat(partition_of(now)))
    interval = timedelta(minutes=minutes)
    return begin + (now - begin) // interval * interval


@dataclass(frozen=True)
class Calendar:
    """The daily partitions from ``first`` to ``last`` (None: they go on with the calendar)."""

    first: date
    last: date | None
    begun_at: datetime | None = field(default=None, compare=False)
    """When its state folder began, if that is known. Until then nobody was to land anything."""

    @classmethod
    def of(cls, settings: Settings) -> Calendar:
        """The calendar of the settings' state folder. Where it has none yet, the one that would begin now.

        Raises:
            SettingsError: the settings contradict what the state folder keeps, or its file can't be read.
        """
        kept = _kept(settings) or _beginning(settings)
        if settings.start_date not in (None, kept.first):
            raise SettingsError(
                f"GTM_START_DATE is {settings.start_date}, and the calendar of {settings.home} begins with "
                f"{kept.first} ({settings.calendar_path.name}), for good. Leave GTM_START_DATE out, or take "
                "another state folder: GTM_HOME"
            )
        last = settings.end_date or kept.last
        if last == date.max:
            last = None
        if last is not None and last < kept.first:
            raise SettingsError(
                f"GTM_END_DATE is {last}, and the calendar of {settings.home} begins after it, with {kept.first}"
            )
        return cls(kept.first, last, kept.begun_at)

    @classmethod
    def begin(cls, settings: Settings) -> Calendar:
        """The calendar of the settings' state folder, written down where that is not done yet.

        Processes that do so at once agree.

        Raises:
            SettingsError: as in :meth:`of`.
        """
        path = settings.calendar_path
        if not path.exists():
            cls.of(settings)
            settings.home.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    begun = _beginning(settings)
                    beside = path.with_suffix(f".{os.getpid()}")
                    beside.write_text(json.dumps(begun._to_keep()) + "\n")
                    beside.replace(path)
        return cls.of(settings)

    def _to_keep(self) -> dict[str, str]:
        ends = {"last_partition": self.last.isoformat()} if self.last else {}
        begun = {"begun_at": self.begun_at.isoformat(timespec="seconds")} if self.begun_at else {}
        return {"first_partition": self.first.isoformat(), **ends, **begun}

    def definition(self) -> DailyPartitionsDefinition:
        """The calendar as Dagster's partitions: those that are over, and the one that is still open."""
        # Dagster keeps the partitions that end by this midnight: two days on, since the last ends at 21:49.
        end = None if self.last is None else (self.last + timedelta(days=2)).isoformat()
        # Here, since commands that only read the lake ask for no Dagster, whose import takes two seconds.
        from dagster import DailyPartitionsDefinition

        return DailyPartitionsDefinition(
            start_date=self.first.isoformat(),
            end_date=end,
            timezone=TIMEZONE,
            hour_offset=BOUNDARY.hour,
            minute_offset=BOUNDARY.minute,
            end_offset=1,
        )

    def window(self, key: str, until: datetime | None = None) -> Window:
        """The extraction window of a partition; with ``until``, no more of it than its whole minutes by then.

        Raises:
            PartitionError: ``key`` is not a day of the calendar, no minute of it has passed by ``until``, or it is
                the first and not over by then.
        """
        day = self._day(key)
        start, end = None if day == self.first else boundary(day), end_of(key)
        if until is None or end <= until:
            return Window(key, start, end)
        if start is None:
            raise PartitionError(self._none_is_over())
        minute = minute_of(until)
        if minute <= start:
            raise PartitionError(
                f"partition {key} has not begun, or just now: it goes from {start:%Y-%m-%d %H:%M} UTC to "
                f"{end:%Y-%m-%d %H:%M} UTC. The last that is over is {(self.closed(until) or ['none'])[-1]}"
            )
        return Window(key, start, minute, is_open=True)

    def open_at(self, now: datetime) -> str | None:
        """Key of the partition that can be landed early at ``now``.

        None where the calendar has ended, no partition is over yet, or the last has just ended.
        """
        key = partition_of(now)
        day = date.fromisoformat(key)
        is_ours = self.first < day and (self.last is None or day <= self.last)
        return key if is_ours and boundary(day) < minute_of(now) else None

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

        Each is a day, or a number of days back as in :func:`day_named`.

        Raises:
            PartitionError: an end is outside the calendar, the range is empty, or its last day is not over.
        """
        keys = self.closed(now)
        if not keys:
            raise PartitionError(self._none_is_over())
        newest = date.fromisoformat(keys[-1])
        ended = newest + timedelta(days=1)
        from_day = self._day(day_named(first, ended)) if first else self.first
        to_day = self._day(day_named(last, ended)) if last else newest
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

    def _none_is_over(self) -> str:
        ready = end_of(self.first.isoformat())
        return f"no partition is over yet: the first, {self.first}, ends {ready:%Y-%m-%d %H:%M} UTC"

    def _days(self) -> Iterator[date]:
        day = self.first
        while self.last is None or day <= self.last:
            yield day
            day += timedelta(days=1)

    def _day(self, key: str) -> date:
        day = parse_day(key)
        if day < self.first:
            raise PartitionError(
                f"partition {key} is before the first, {self.first}, with which the state folder begins"
            )
        if self.last is not None and day > self.last:
            raise PartitionError(
                f"partition {key} is after the last, {self.last} (GTM_END_DATE; `open` lets it go on)"
            )
        return day


def _kept(settings: Settings) -> Calendar | None:
    """What a state folder keeps of its calendar."""
    path = settings.calendar_path
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
        last, begun = kept.get("last_partition"), kept.get("begun_at")
        return Calendar(
            date.fromisoformat(kept["first_partition"]),
            last and date.fromisoformat(last),
            begun and datetime.fromisoformat(begun),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"{path} can't be read ({type(error).__name__}: {error}). It names the first partition of the state "
            'folder, as in {"first_partition": "2026-11-01"}: write there the oldest day of its lake'
        ) from error


def _of_an_earlier_release(settings: Settings) -> Calendar | None:
    """The calendar of a state folder that has a lake and keeps no calendar: an earlier release began it.

    Unless the settings said otherwise, its calendar had 30 partitions, or no end with a live organisation.
    """
    names = (folder.name.partition("=")[2] for folder in place.folders(place.place_of(settings), "*/*/*=*"))
    # A month of merged batches is named as in 2026-09.
    days = sorted(date.fromisoformat(name if len(name) == 10 else f"{name}-01") for name in names)
    if not days:
        return None
    former_last = FORMER_FIRST + timedelta(days=FIRST_DAYS - 1)
    is_default = settings.start_date is None and FORMER_FIRST <= days[0] <= former_last
    first = settings.start_date or (FORMER_FIRST if is_default else days[0])
    last = first + timedelta(days=FIRST_DAYS - 1)
    had_its_end = (is_default or settings.start_date is not None) and days[-1] <= last
    return Calendar(first, last if had_its_end and not settings.is_live else None)


def _beginning(settings: Settings) -> Calendar:
    """The calendar that a state folder gets now: 30 partitions are over, unless the settings say otherwise."""
    former = _of_an_earlier_release(settings)
    if former is not None:
        return former
    now = clock.now()
    newest = date.fromisoformat(partition_of(now)) - timedelta(days=1)
    end = min(newest, settings.end_date) if settings.end_date else newest
    return Calendar(settings.start_date or end - timedelta(days=FIRST_DAYS - 1), None, begun_at=now)


_DAYS_BACK = re.compile(r"-([1-9]\d{0,4})d")


def day_named(text: str, ended: date) -> str:
    """The day that somebody names in a command: itself, or as in ``-3d`` three days before ``ended``.

    ``ended`` is the day of the last partition boundary, so that ``-1d`` is the partition that ended then.
    """
    back = _DAYS_BACK.fullmatch(text)
    return (ended - timedelta(days=int(back[1]))).isoformat() if back else text


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
    raise PartitionError(f"{key!r} is not a partition: partitions are days, such as 2026-09-01 (or -1d, the last)")


def batches(keys: list[str], size: int = BATCH_SIZE) -> list[list[str]]:
    """The keys in runs' worth: at most ``size`` each, in order."""
    return [keys[i : i + size] for i in range(0, len(keys), size)]


def partition_of(instant: datetime) -> str:
    """Key of the partition in whose window an instant lies, the calendar's ends aside."""
    local = instant.astimezone(ZoneInfo(TIMEZONE))
    day = local.date() if local.time() >= BOUNDARY else local.date() - timedelta(days=1)
    return day.isoformat()
