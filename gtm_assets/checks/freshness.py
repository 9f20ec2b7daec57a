"""Whether the data of the day are there: landed, and published.

Dagster's freshness policies say that something ran; they know no partitions, so a backfill of an old day makes a
stale source look fresh. These checks say that the day itself is there, and whether a source has fallen silent.
On a calendar that ends no day is late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from gtm_assets.finding import Finding
from gtm_assets.lake.profile import FEWEST_DAYS
from gtm_assets.partitions import Calendar

LANDED = "landed_on_time"
PUBLISHED = "published_on_time"
SILENCE_DAYS = 28


@dataclass(frozen=True)
class Deadline:
    """How long after a partition's end something may take. Settings."""

    due: timedelta
    late: timedelta
    """After the due time: a warning."""
    missed: timedelta
    """After the due time: critical."""


def landed_on_time(
    table: str, calendar: Calendar, landed: Mapping[str, int], now: datetime, deadline: Deadline
) -> Finding:
    """Whether a raw table has landed every partition that is over.

    ``landed`` holds the records of each landed partition of the last weeks, by key.
    """
    over = calendar.closed(now)[-SILENCE_DAYS:]
    missing = [key for key in over if key not in landed]
    if not missing:
        silent, usual = _silence([landed[key] for key in over if key != calendar.first.isoformat()])
        if silent > usual:
            return Finding(
                passed=False,
                sentence=f"{table} has returned no record for {silent} days; in the weeks before it was silent "
                f"for {usual} at most. Look whether the integration user still sees the records.",
                severity=dg.AssetCheckSeverity.WARN,
                figures={"silent_days": silent, "usual_silent_days": usual},
            )
        return Finding(
            True, f"All partitions up to {over[-1]} have landed." if over else "No partition is over yet."
        )
    oldest = missing[0]
    ended = calendar.window(oldest).end
    if calendar.last is not None:
        return Finding(
            True,
            f"{len(missing)} partitions from {oldest} on have not landed. {nothing_is_late(calendar.last)}",
            figures={"missing_partitions": missing},
        )
    return _by_lateness(
        _since(ended, calendar, now),
        deadline,
        figures={
            "missing_partitions": missing,
            "minutes_since_the_end": round((now - ended).total_seconds() / 60),
        },
        what=f"{table} has not landed partition {oldest}, which ended {ended:%Y-%m-%d %H:%M} UTC"
        + (f", nor {len(missing) - 1} later ones" if len(missing) > 1 else ""),
        advice=f"Look at the last run of extract, or land it: gtm run --from {oldest} --to {missing[-1]}",
    )


def published_on_time(calendar: Calendar, as_of: datetime | None, now: datetime, deadline: Deadline) -> Finding:
    """Whether the newest partition that is over has been published. ``as_of``: what the file knows of itself."""
    over = calendar.closed(now)
    if not over:
        return Finding(True, "No partition is over yet.")
    ended = calendar.window(over[-1]).end
    if as_of is not None and as_of >= ended:
        return Finding(True, f"Published up to {over[-1]}.", figures={"as_of": as_of.isoformat()})
    stays = f"what is published is of {as_of:%Y-%m-%d %H:%M} UTC" if as_of else "nothing is published"
    # The first partition that is over and not published says since when.
    waiting = [key for key in over if as_of is None or calendar.window(key).end > as_of]
    ended = calendar.window(waiting[0]).end
    if calendar.last is not None:
        return Finding(
            True,
            f"Partition {waiting[0]} is not published: {stays}. {nothing_is_late(calendar.last)}",
            figures={"waiting_partitions": waiting},
        )
    return _by_lateness(
        _since(ended, calendar, now),
        deadline,
        figures={
            "waiting_partitions": waiting,
            "minutes_since_the_end": round((now - ended).total_seconds() / 60),
        },
        what=f"Partition {waiting[0]}, which ended {ended:%Y-%m-%d %H:%M} UTC, is not published: {stays}",
        advice="Look at the last run of transform for the check that stopped it",
    )


def nothing_is_late(last: date) -> str:
    """What checks of freshness say on a calendar that ends with partition ``last``."""
    return f"The calendar ends with {last} (GTM_END_DATE), so nothing is late."


def _since(ended: datetime, calendar: Calendar, now: datetime) -> timedelta:
    """How long something is due: since its partition's end, or since the state folder began after that."""
    return now - max(ended, calendar.begun_at or ended)


def _by_lateness(
    since: timedelta, deadline: Deadline, figures: Mapping[str, object], what: str, advice: str
) -> Finding:
    behind = since - deadline.due
    if behind < deadline.late:
        return Finding(True, f"Not due yet. {what}.", figures=figures)
    severity = dg.AssetCheckSeverity.ERROR if behind >= deadline.missed else dg.AssetCheckSeverity.WARN
    return Finding(False, f"{what}. {advice}.", severity, figures)


def _silence(counts: Sequence[int]) -> tuple[int, int]:
    """How many days up to the last had no record, and the longest such time before them."""
    runs, current = [], 0
    for count in counts:
        if count:
            runs.append(current)
            current = 0
        else:
            current += 1
    # A table that never had a record in all these days is not silent, only small.
    # What is usual takes two weeks to tell.
    if len(runs) < 2 or len(counts) - current < FEWEST_DAYS:
        return 0, 0
    return current, max(runs)
