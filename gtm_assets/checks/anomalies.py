"""What is unusual in a table's newest partition, measured against its own last 28 days.

Two statistics, both a deviation in standard errors. On 120 days of the synthetic org at four sizes up to scale 1,
a quarter's end among them, both stay silent:

Volume. Records of the partition against the median of the same weekday (four of them in 28 days). The variance
is that of a count (Poisson) times the table's own overdispersion: the mean over the 28 days of
(count - weekday's median)² / median, at least 1. Unusual is more than :data:`VOLUME_ERRORS` standard errors and
more than the tolerance, a share of what was expected; around the end of a fiscal quarter, when deals are closed
and quotas set, more than twice the tolerance, as 28 days do not hold such an end. Judged where the weekday had
records in three weeks of four, and at least :data:`FEWEST_EXPECTED` were to be expected.

Values. Each column is a set of shares: of nulls; of each value of a column with few values; of numbers up to the
10th, 25th, 50th, 75th and 90th percentile of the 28 days. Each is compared with that of the same weekday, as a
proportion (binomial) with the overdispersion between days of a weekday. Unusual is more than
:data:`SHARE_ERRORS` standard errors and :data:`SHARE_CHANGE` of the records. Judged where the partition has at
least :data:`FEWEST_RECORDS` records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import median

import numpy as np
import polars as pl

from gtm_assets.catalog.raw_table import ColumnType

DAYS = 28
VOLUME_ERRORS = 5.0
FEWEST_EXPECTED = 10
QUARTER_DAYS = 10
"""So many days before and after the end of a quarter are around it."""
SHARE_ERRORS = 8.0
SHARE_CHANGE = 0.30
FEWEST_RECORDS = 30
FEWEST_DAYS = 14
FEW_VALUES = 30
QUANTILES = (0.10, 0.25, 0.50, 0.75, 0.90)
PARTITION = "_partition"
_NUMBERS = {ColumnType.INTEGER, ColumnType.DOUBLE, ColumnType.CURRENCY}
_VALUES = {ColumnType.STRING, ColumnType.BOOLEAN}


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
        if timedelta(0) < day - date.fromisoformat(key) <= timedelta(DAYS)
    }
    usual = {weekday: median(_of_weekday(before, weekday)) for weekday in {d.weekday() for d in before}}
    same = _of_weekday(before, day.weekday())
    records = counts[partition]
    expected = usual.get(day.weekday(), 0)
    if sum(count > 0 for count in same) < 3 or expected < FEWEST_EXPECTED:
        return Volume(partition, records, None, 0.0, False)
    # A median of four already fits its own days: the factor makes up for it.
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


def unusual_shares(records: pl.DataFrame, types: Mapping[str, ColumnType], partition: str) -> list[Share] | None:
    """The shares of ``partition`` that are unusual against the others, the greatest change of each column.

    ``records`` has the table's columns and ``_partition``. None where there is too little to judge.
    """
    today = records.filter(pl.col(PARTITION) == partition)
    before = records.filter(pl.col(PARTITION) != partition)
    if today.height < FEWEST_RECORDS or before[PARTITION].n_unique() < FEWEST_DAYS:
        return None
    features = _features(before, types)
    by_day = before.group_by(PARTITION).agg(pl.len().alias("_records"), *(f.count() for f in features))
    weekdays = by_day[PARTITION].str.to_date().dt.weekday().to_numpy()
    same = weekdays == date.fromisoformat(partition).isoweekday()
    if not same.any():
        return None
    hits, records_by_day = by_day.drop(PARTITION, "_records").to_numpy(), by_day["_records"].to_numpy()[:, None]
    usual = _usual_shares(hits, records_by_day, weekdays)
    expected = records_by_day * usual
    # A mean of four already fits its own days: the factor makes up for it.
    spread = 4 / 3 * (hits - expected) ** 2 / (expected * (1 - usual))
    overdispersion = np.maximum(1.0, spread.mean(axis=0))
    now = np.array(today.select(f.count() for f in features).row(0)) / today.height
    there = usual[same][0]
    sampled = 1 / today.height + 1 / records_by_day[same].sum()
    errors = (now - there) / np.sqrt(overdispersion * there * (1 - there) * sampled)
    found: dict[str, Share] = {}
    for i in np.flatnonzero((np.abs(errors) > SHARE_ERRORS) & (np.abs(now - there) > SHARE_CHANGE)):
        share = Share(features[i].column, features[i].what, float(now[i]), float(there[i]), float(errors[i]))
        if share.column not in found or abs(share.errors) > abs(found[share.column].errors):
            found[share.column] = share
    return list(found.values())


def _usual_shares(hits: np.ndarray, records: np.ndarray, weekdays: np.ndarray) -> np.ndarray:
    """The share of each feature on each day's weekday (days × features), never quite 0 or 1."""
    usual = np.empty(hits.shape)
    for weekday in np.unique(weekdays):
        days = weekdays == weekday
        # As if there were one record more of either kind.
        usual[days] = (hits[days].sum(axis=0) + 1) / (records[days].sum() + 2)
    return usual


@dataclass(frozen=True)
class _Feature:
    column: str
    what: str
    condition: pl.Expr

    def count(self) -> pl.Expr:
        return self.condition.fill_null(False).sum().alias(self.name)

    @property
    def name(self) -> str:
        return f"{self.column} {self.what}"


def _features(before: pl.DataFrame, types: Mapping[str, ColumnType]) -> list[_Feature]:
    features = []
    for name, type_ in types.items():
        column = pl.col(name)
        features.append(_Feature(name, "is null", column.is_null()))
        if type_ in _NUMBERS:
            numbers = before[name].cast(pl.Float64).drop_nulls()
            cuts = dict.fromkeys(numbers.quantile(q) for q in QUANTILES) if numbers.len() else {}
            features += [_Feature(name, f"<= {cut:g}", column.cast(pl.Float64) <= cut) for cut in cuts]
        elif type_ in _VALUES:
            values = before[name].drop_nulls().unique()
            if values.len() <= FEW_VALUES:
                features += [_Feature(name, f"= {_literal(v)}", column == v) for v in sorted(values)]
                # What was never seen before has a share too.
                if values.len():
                    features.append(_Feature(name, "is a new value", ~column.is_in(values.implode())))
    return features


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "'" + str(value).replace("'", "''") + "'"
