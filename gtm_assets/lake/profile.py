"""How the values of a table's newest partition are distributed, and how they were in the days before it.

A feature is something that values of one column have in common: being null; being one of the values of a column
with few of them, or none of these; being a number up to the 10th, 25th, 50th, 75th or 90th percentile of the days
before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from gtm_assets.catalog.raw_table import ColumnType

PARTITION = "_partition_key"
FEWEST_RECORDS = 30
"""A partition of fewer records has no profile."""
FEWEST_DAYS = 14
"""Where fewer days before it have records, neither."""
_FEW_VALUES = 30
_QUANTILES = (0.10, 0.25, 0.50, 0.75, 0.90)
_NUMBERS = {ColumnType.INTEGER, ColumnType.DOUBLE, ColumnType.CURRENCY}
_VALUES = {ColumnType.STRING, ColumnType.BOOLEAN}


@dataclass(frozen=True)
class Feature:
    """What some values of a column have in common."""

    column: str
    what: str
    """``is null``, ``= 'Won'``, ``<= 1200``: SQL, after the column."""


@dataclass(frozen=True)
class Profile:
    """How many records of a partition, and of each day before it, have each feature."""

    partition: str
    columns: tuple[str, ...]
    """Those that were looked at."""
    features: tuple[Feature, ...]
    records: int
    """Records of the partition."""
    hits: np.ndarray
    """Of these, how many have each feature."""
    days: tuple[str, ...]
    """Keys of the partitions before it that have records."""
    records_by_day: np.ndarray
    """Records of each of the days: days × 1."""
    hits_by_day: np.ndarray
    """Of these, how many have each feature: days × features."""


def profile(records: pl.DataFrame, types: Mapping[str, ColumnType], partition: str) -> Profile | None:
    """The profile of ``partition`` beside the other partitions in ``records``.

    ``records`` has the columns in ``types`` and ``_partition_key``. None where there is too little to compare.
    """
    newest = records.filter(pl.col(PARTITION) == partition)
    before = records.filter(pl.col(PARTITION) != partition)
    if newest.height < FEWEST_RECORDS or before[PARTITION].n_unique() < FEWEST_DAYS:
        return None
    conditions = _conditions(before, types)
    counts = [
        condition.fill_null(False).sum().alias(f"{feature.column} {feature.what}")
        for feature, condition in conditions
    ]
    by_day = before.group_by(PARTITION).agg(pl.len().alias("_records"), *counts)
    return Profile(
        partition=partition,
        columns=tuple(types),
        features=tuple(feature for feature, _ in conditions),
        records=newest.height,
        hits=np.array(newest.select(counts).row(0)),
        days=tuple(by_day[PARTITION]),
        records_by_day=by_day["_records"].to_numpy()[:, None],
        hits_by_day=by_day.drop(PARTITION, "_records").to_numpy(),
    )


def _conditions(before: pl.DataFrame, types: Mapping[str, ColumnType]) -> list[tuple[Feature, pl.Expr]]:
    """The features that the records of the days before suggest, each with its condition."""
    found: list[tuple[Feature, pl.Expr]] = []
    for name, type_ in types.items():
        column = pl.col(name)
        found.append((Feature(name, "is null"), column.is_null()))
        if type_ in _NUMBERS:
            numbers = before[name].cast(pl.Float64).drop_nulls()
            cuts = dict.fromkeys(numbers.quantile(q) for q in _QUANTILES) if numbers.len() else {}
            found += [(Feature(name, f"<= {cut:g}"), column.cast(pl.Float64) <= cut) for cut in cuts]
        elif type_ in _VALUES:
            values = before[name].drop_nulls().unique()
            if values.len() <= _FEW_VALUES:
                found += [(Feature(name, f"= {_literal(v)}"), column == v) for v in sorted(values)]
                # What was never seen before has a share too.
                if values.len():
                    found.append((Feature(name, "is a new value"), ~column.is_in(values.implode())))
    return found


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "'" + str(value).replace("'", "''") + "'"
