"""Days, instants and the rate at which records come into being.

A *day* is a whole number: days since the org began. An *instant* is whole seconds since 1970 in UTC. Work is
done on weekdays, in the office hours of a company eight hours behind UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import numpy as np

from gtm_assets.sources.salesforce.synthetic.arrays import Bits, Ints

Whole = TypeVar("Whole", int, Ints)
"""One day or instant, or an array of them."""

EPOCH = datetime(2024, 9, 1, tzinfo=UTC)
"""The org begins on this day, a Sunday."""
DAY = 86_400
NEVER = 1 << 40
"""It stands for the instant of an event that does not happen."""
MEASURED_DAYS = 760
"""By this day, 2026-10-01, each table has as many records as its volume says."""

_EPOCH_SECONDS = int(EPOCH.timestamp())
_EPOCH_UNIX_DAY = _EPOCH_SECONDS // DAY
_BEHIND_UTC = 8 * 3600
_SUNDAY, _SATURDAY = 0, 6

_LAST_DAY = 30_000
_ALL_DAYS = np.arange(_LAST_DAY)
_WEEKDAY_WEIGHT = np.array([0.05, 1.0, 1.1, 1.1, 1.05, 0.9, 0.05])
# The org grows: on the measured day it makes 1.7 times as many records as on its first.
_WEIGHT = _WEEKDAY_WEIGHT[_ALL_DAYS % 7] * (1 + 0.7 * _ALL_DAYS / MEASURED_DAYS)
_CUMULATIVE = np.concatenate([[0.0], np.cumsum(_WEIGHT)])
_GROWTH = _CUMULATIVE / _CUMULATIVE[MEASURED_DAYS]


def seconds(at: datetime) -> int:
    """The first whole second at or after ``at``."""
    whole = int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    exact = datetime.fromtimestamp(whole, UTC)
    return whole if exact >= at else whole + 1


def instant_of(at: datetime) -> int:
    """The instant of a time that has whole seconds."""
    return int(at.timestamp())


def day_of(instant: Whole) -> Whole:
    """The org's working day on which an instant falls."""
    return (instant - _EPOCH_SECONDS - _BEHIND_UTC) // DAY


def morning(day: Whole, hour: float = 0.0) -> Whole:
    """The instant of an hour of the org's own day."""
    return day * DAY + (_EPOCH_SECONDS + _BEHIND_UTC + int(hour * 3600))


def working_instant(day: Ints, bits: Bits) -> Ints:
    """An instant in the office hours of a day, most often about 13:00."""
    first = (bits >> np.uint64(38)).astype(np.int64)
    second = ((bits >> np.uint64(12)) & np.uint64((1 << 26) - 1)).astype(np.int64)
    into_day = 27_000 + ((first + second) * 41_400 >> 27)
    return np.asarray(day, np.int64) * DAY + (_EPOCH_SECONDS + _BEHIND_UTC) + into_day


def workday(day: Ints) -> Ints:
    """The day itself where it is a weekday, else the Friday before it."""
    day = np.asarray(day, np.int64)
    weekday = day % 7
    return day - np.where(weekday == _SUNDAY, 2, np.where(weekday == _SATURDAY, 1, 0))


def unix_day(day: Ints) -> Ints:
    """Days since 1970, as a date column holds them."""
    return np.asarray(day, np.int64) + _EPOCH_UNIX_DAY


def quarter_of(day: Ints) -> Ints:
    """Quarters since 1970 (a fiscal year is a calendar year)."""
    months = unix_day(day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months // 3


def month_start(month: Ints) -> Ints:
    """First day of a month, given in months since 1970."""
    days = np.asarray(month, np.int64).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return days - _EPOCH_UNIX_DAY


def quarter_start(quarter: Ints) -> Ints:
    """First day of a quarter."""
    return month_start(np.asarray(quarter, np.int64) * 3)


class Arrivals:
    """When the records of a table come into being: ``stock`` on day 0, the others at a rate that grows.

    Record ``i`` is created on day ``day(i)``, which never falls as ``i`` rises; by the measured day there are
    ``total`` records. Stock is made before office hours, at ``stock_hour``, so that objects that refer to
    others come after them.
    """

    def __init__(self, total: float, stock: int = 0, stock_hour: float = 0.0) -> None:
        """``total`` records by the measured day, of which ``stock`` on the first."""
        self.stock = stock
        self.stock_hour = stock_hour
        # Records created before each day.
        self._before = stock + max(total - stock, 0.0) * _GROWTH

    def day(self, index: Ints) -> Ints:
        """Day on which each record is created."""
        found = np.searchsorted(self._before, np.asarray(index) + 0.5, side="right") - 1
        return np.maximum(found, 0)

    def known(self, day: Ints) -> Ints:
        """How many records exist when office hours of a day begin."""
        clipped = np.clip(day, 0, _LAST_DAY)
        count: Ints = np.ceil(self._before[clipped] - 0.5).astype(np.int64)
        return count

    def created(self, index: Ints, bits: Bits) -> Ints:
        """Instant at which each record is created."""
        office = working_instant(self.day(index), bits)
        # Within the hour they come in the order of their indices: a record may refer to those before it.
        into_hour = np.asarray(index) * 3000 // max(self.stock, 1)
        return np.where(np.asarray(index) < self.stock, morning(0, self.stock_hour) + into_hour, office)

    def between(self, first: int, last: int) -> Ints:
        """Indices of the records created on days ``first`` to ``last``, both included."""
        low = 0 if first <= 0 else int(self.known(np.array(first)))
        high = int(self.known(np.array(max(last, -1) + 1))) if last >= 0 else 0
        return np.arange(low, max(low, high))
