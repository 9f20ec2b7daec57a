"""What a number may lack: tables that can't be read, records in quarantine, partitions that have not landed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.reader import LakeReader
from gtm_assets.partitions import Calendar


@dataclass(frozen=True)
class Lack:
    """What a number may lack of one raw table."""

    table: str
    """``source.table``."""
    what: str
    """A sentence."""
    since: str
    """A partition or an instant, UTC; empty where it is not known."""


def lacks(
    tables: Sequence[RawTable],
    landed: Mapping[str, Mapping[str, str]],
    unreadable: Mapping[str, str],
    quarantined: Mapping[str, int],
    lake: LakeReader | None,
    calendar: Calendar | None,
    now: datetime,
) -> list[Lack]:
    """What the number lacks of these tables.

    ``landed`` holds the batches that were published, ``unreadable`` the tables that could not be read then and
    ``quarantined`` how many records waited then. A lake says how it is by now, and since when. Without a calendar
    nothing is known of partitions that are owed.
    """
    found: list[Lack] = []
    for table in tables:
        name = table.qualified_name
        if name in unreadable:
            since = _since_unreadable(lake, table) if lake else ""
            found.append(Lack(name, f"The source does not let us read it: {unreadable[name]}", since))
        if lake is not None and (gone := lake.forgotten(table)) is not None:
            found.append(Lack(name, "Its owner has said that it is gone: it stays as it was.", _minute(gone)))
        count, since_at = quarantined.get(name, 0), None
        if lake is not None:
            waiting = lake.quarantined(table)
            count, since_at = waiting.height, waiting["_known_at"].min()
        if count:
            found.append(
                Lack(
                    name,
                    f"{count:,} records wait in quarantine, as they do not fit. Look: gtm quarantine list {name}",
                    _minute(since_at) if isinstance(since_at, datetime) else "",
                )
            )
        if calendar is not None and landed.get(name):
            found += _owed(name, calendar.closed(now), {*landed[name].values()})
    return found


def _owed(name: str, over: Sequence[str], there: Collection[str]) -> list[Lack]:
    owed = [key for key in over if key not in there]
    if not owed:
        return []
    return [
        Lack(
            name,
            f"{len(owed):,} partitions that are over are not in what is published. Land them: gtm run",
            owed[0],
        )
    ]


def _since_unreadable(lake: LakeReader, table: RawTable) -> str:
    """The first of the partitions in a row that could not be read, up to the newest."""
    unread = {*lake.unreadable_partitions(table)}
    since = ""
    for key in reversed(lake.partitions(table)):
        if key not in unread:
            break
        since = key
    return since


def _minute(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}"
