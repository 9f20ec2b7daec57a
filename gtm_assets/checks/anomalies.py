"""What is unusual in a table's newest partition, measured against its own last 28 days.

Two statistics, both a deviation in standard errors. On 120 days of the synthetic org at four sizes up to scale 1,
a quarter's end among them, both stay silent:

Volume. Records of the partition against the median of the same weekday (four of them in 28 days). The variance is
that of a count (Poisson) times the table's own overdispersion: the mean over the 28 days of (count - weekday's
median)² / median, at least 1. Unusual is more than :data:`VOLUME_ERRORS` standard errors and more than the
tolerance, a share of what was expected; around the end of a fiscal quarter, when opportunities are closed and
quotas set, more than twice the tolerance, as 28 days do not hold such an end. Judged where the weekday had records
in three weeks of four, and at least :data:`FEWEST_EXPECTED` were to be expected.

Values. Each column is a set of shares, those of the features in :mod:`gtm_assets.lake.profile`: of nulls; of each
value of a column with few values; of numbers up to a percentile of the 28 days. Each is compared with that of the
same weekday, as a proportion (binomial) with the overdispersion between days of a weekday. Unusual is more than
:data:`SHARE_ERRORS` standard errors and :data:`SHARE_CHANGE` of the records. Judged where there is a profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import median

import numpy as np

from gtm_assets.lake.profile import Profile
from gtm_assets.lake.summary import RECENT_DAYS

VOLUME_ERRORS = 5.0
FEWEST_EXPECTED = 10
QUARTER_DAYS = 10
"""So many days before and after the end of a quarter are around it."""
SHARE_ERRORS = 8.0
SHARE_CHANGE = 0.30


@dataclass(frozen=True)
class Volume:
    """How many records a partition has and how many were to be expected."""

    partition: str
    records: int
    expected: float | None
    """None where there is too little to compare with."""
    errors: float
    """The deviation in standard errors, signed."""
    unusual: bool


def volume(
    counts: Mapping[str, int], partition: str, tolerance: float, fiscal_year_start_month: int = 1
) -> Volume:
    """Judge the count of ``partition`` by those of the 28 days before it.

    ``counts`` holds records by partition key; ``tolerance`` is the share of the expected count that is never
    unusual.
    """
    day = date.fromisoformat(partition)
    before = {
        date.fromisoformat(key): count
        for key, count in counts.items()
        if timedelta(0) < day - date.fromisoformat(key) <= timedelta(RECENT_DAYS)
    }
    usual = {weekday: median(_of_weekday(before, weekday)) for weekday in {d.weekday() for d in before}}
    same = _of_weekday(before, day.weekday())
    records = counts[partition]
    expected = usual.get(day.weekday(), 0)
    if sum(count > 0 for count in same) < 3 or expected < FEWEST_EXPECTED:
        return Volume(partition, records, None, 0.0, False)
    # The median is of these very days, so they lie closer to it than new days will: the factor makes up for that.
    spread = [(count - usual[d.weekday()]) ** 2 / max(usual[d.weekday()], 1) for d, count in before.items()]
    overdispersion = max(1.0, 1.2 * sum(spread) / len(spread))
    error = sqrt(overdispersion * expected * (1 + 1 / len(same)) + 1)
    errors = (records - expected) / error
    allowed = tolerance * (2 if _is_around_quarter_end(day, fiscal_year_start_month) else 1)
    off = abs(records - expected) > allowed * expected
    return Volume(partition, records, expected, errors, off and abs(errors) > VOLUME_ERRORS)


def _is_around_quarter_end(day: date, fiscal_year_start_month: int) -> bool:
    near = (day - timedelta(QUARTER_DAYS), day + timedelta(QUARTER_DAYS))
    before, after = ((d.year * 12 + d.month - fiscal_year_start_month) // 3 for d in near)
    return before != after


def _of_weekday(counts: Mapping[date, int], weekday: int) -> list[int]:
    return [count for day, count in counts.items() if day.weekday() == weekday]


@dataclass(frozen=True)
class Share:
    """A share of a partition's records that is not what it was."""

    column: str
    what: str
    """What the records have in common: ``is null``, ``= 'Won'``, ``<= 1200``: SQL, after the column."""
    share: float
    usual: float
    errors: float


def unusual_shares(profile: Profile) -> list[Share] | None:
    """The shares of a partition that are unusual against the days before it, the greatest change of each column.

    None where no day before it is of the same weekday.
    """
    weekdays = np.array([date.fromisoformat(day).isoweekday() for day in profile.days])
    same = weekdays == date.fromisoformat(profile.partition).isoweekday()
    if not same.any():
        return None
    usual = _usual_shares(profile.hits_by_day, profile.records_by_day, weekdays)
    expected = profile.records_by_day * usual
    # The mean is of these very days, so they lie closer to it than new days will: the factor makes up for that.
    spread = 4 / 3 * (profile.hits_by_day - expected) ** 2 / (expected * (1 - usual))
    overdispersion = np.maximum(1.0, spread.mean(axis=0))
    now = profile.hits / profile.records
    there = usual[same][0]
    sampled = 1 / profile.records + 1 / profile.records_by_day[same].sum()
    errors = (now - there) / np.sqrt(overdispersion * there * (1 - there) * sampled)
    found: dict[str, Share] = {}
    for i in np.flatnonzero((np.abs(errors) > SHARE_ERRORS) & (np.abs(now - there) > SHARE_CHANGE)):
        feature = profile.features[i]
        share = Share(feature.column, feature.what, float(now[i]), float(there[i]), float(errors[i]))
        if share.column not in found or abs(share.errors) > abs(found[share.column].errors):
            found[share.column] = share
    return list(found.values())


def _usual_shares(hits: np.ndarray, records: np.ndarray, weekdays: np.ndarray) -> np.ndarray:
    """The share of each feature on each day's weekday (days × features), never quite 0 or 1."""
    usual = np.empty(hits.shape)
    for weekday in np.unique(weekdays):
        days = weekdays == weekday
        # Count one more record of either kind, so that no share is 0 or 1.
        usual[days] = (hits[days].sum(axis=0) + 1) / (records[days].sum() + 2)
    return usual
