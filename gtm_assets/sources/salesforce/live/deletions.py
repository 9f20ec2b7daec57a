"""What an organisation lists as deleted: for objects that have no recycle bin, the daily trace of a hard delete.

Salesforce lists 15 days, or fewer where its log of deletions was emptied earlier. What lies before is found by the
next full extraction.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import requests

from gtm_assets import clock
from gtm_assets.sources.salesforce.live.query import Description, instant
from gtm_assets.sources.salesforce.live.session import Refused, Session, Unsettled, read_json

HORIZON = timedelta(days=15)
SHORTEST = timedelta(minutes=1)
"""Spans are in whole minutes, of more than one."""
REQUESTS = 32
"""The most requests that we make for one table and day. The next full extraction finds what they leave out."""
_MARGIN = timedelta(minutes=5)
"""Time passes while we ask, and what Salesforce lists of 15 days begins later."""
_TOO_MANY = "EXCEEDED_ID_LIMIT"
_NOT_KEPT = "INVALID_REPLICATION_DATE"


def listed_deletions(
    session: Session, description: Description, start: datetime, end: datetime, note: Callable[[str], None]
) -> dict[str, datetime]:
    """Ids of the records that were deleted in a span, each with when. ``note`` is told what can't be known.

    Raises:
        SourceUnavailable, CredentialsRefused, BudgetReached: as the session raises them.
    """
    if not description.tells_deletions:
        return {}
    earliest = (session.org_time or clock.now()) - HORIZON + _MARGIN
    since = max(start, earliest)
    if since > start:
        note(_not_listed(description, "Salesforce lists those of 15 days"))
    if end - since <= SHORTEST:
        return {}
    found: dict[str, datetime] = {}
    waiting = [(since, end)]
    for _ in range(REQUESTS):
        low, high = waiting.pop()
        try:
            found |= _listed(session, description, low, high, note)
        except Refused as error:
            if error.code != _TOO_MANY or high - low <= 4 * SHORTEST:
                reason = (
                    "its log does not reach so far" if error.code == _NOT_KEPT else f"Salesforce answers {error}"
                )
                note(_not_listed(description, reason))
            else:
                middle = low + (high - low) / 2
                # List the newest first: people look for those.
                waiting += [(low, middle), (middle, high)]
        if not waiting:
            return found
    note(_not_listed(description, f"Salesforce lists too many for {REQUESTS} requests"))
    return found


def _listed(
    session: Session, description: Description, start: datetime, end: datetime, note: Callable[[str], None]
) -> dict[str, datetime]:
    path = f"sobjects/{description.table.api_name}/deleted/"
    params = {"start": instant(start), "end": instant(end)}
    deleted, available, covered = session.call("GET", path, _read, params=params)
    if available is not None and available > start:
        note(_not_listed(description, f"Salesforce lists those since {available:%Y-%m-%d %H:%M} UTC"))
    if covered is not None and covered < end - timedelta(days=1):
        note(_not_listed(description, f"Salesforce lists those until {covered:%Y-%m-%d %H:%M} UTC"))
    return {id_: at for id_, at in deleted if start <= at < end}


def _read(answer: requests.Response) -> tuple[list[tuple[str, datetime]], datetime | None, datetime | None]:
    found = read_json(answer)
    try:
        deleted = [
            (record["id"], datetime.fromisoformat(record["deletedDate"])) for record in found["deletedRecords"]
        ]
        ends = [found.get(name) for name in ("earliestDateAvailable", "latestDateCovered")]
        available, covered = (datetime.fromisoformat(at) if at else None for at in ends)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Unsettled("the answer is not a list of deleted records") from None
    return deleted, available, covered


def _not_listed(description: Description, reason: str) -> str:
    return (
        f"{description.table.qualified_name}: not all deletions can be listed ({reason}); "
        f"the next full extraction finds the others"
    )
