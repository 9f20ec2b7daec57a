"""What builds cost: the seconds that dbt took for each model and test, in a file of the state folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

KEPT = timedelta(days=400)
_TABLE = """
create table if not exists build (
    run_id text not null,
    built_at text not null,
    model text not null,
    seconds real not null,
    primary key (run_id, model, built_at)
)
"""


@dataclass(frozen=True)
class Cost:
    """What a model cost in a time: how often it was built, and how long that took."""

    model: str
    builds: int
    seconds: float
    seconds_before: float
    """In the time before that, which was as long."""


@dataclass(frozen=True)
class DailyCost:
    """What a model cost on a day, UTC."""

    day: date
    model: str
    builds: int
    seconds: float


class BuildCosts:
    """The costs of one state folder's builds."""

    def __init__(self, path: Path) -> None:
        """``path`` is made by the first build."""
        self._path = path

    def add(self, run_id: str, at: datetime, seconds: Iterable[tuple[str, float]]) -> None:
        """Enter what a build took for each model, its tests included."""
        rows = [(run_id, at.isoformat(), model, took) for model, took in seconds]
        if not rows:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
            connection.execute(_TABLE)
            connection.executemany("insert or replace into build values (?, ?, ?, ?)", rows)
            connection.execute("delete from build where built_at < ?", [(at - KEPT).isoformat()])

    def daily(self) -> list[DailyCost]:
        """What each model cost on each day."""
        rows = self._rows(
            "select date(built_at) as day, model, count(*), sum(seconds) from build group by 1, 2 order by 1, 2",
            [],
        )
        return [DailyCost(date.fromisoformat(day), model, builds, seconds) for day, model, builds, seconds in rows]

    def dearest(self, now: datetime, days: int, most: int) -> list[Cost]:
        """The models that took longest in the last days, with the time before for comparison."""
        begin, before = now - timedelta(days=days), now - timedelta(days=2 * days)
        rows = self._rows(
            "select model, sum(built_at >= ?), sum(case when built_at >= ? then seconds else 0 end) as took,"
            " sum(case when built_at < ? then seconds else 0 end) from build where built_at >= ?"
            " group by model having took > 0 order by took desc, model limit ?",
            [*[begin.isoformat()] * 3, before.isoformat(), most],
        )
        return [Cost(*row) for row in rows]

    def by_month(self) -> list[tuple[str, float]]:
        """The seconds of each month that is kept, the newest first."""
        return [
            (month, seconds)
            for month, seconds in self._rows(
                "select strftime('%Y-%m', built_at), sum(seconds) from build group by 1 order by 1 desc", []
            )
        ]

    def _rows(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            connection.execute(_TABLE)
            return connection.execute(sql, values).fetchall()
