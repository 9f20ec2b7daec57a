"""What an organisation counts and adds up itself, for comparison with what has landed.

Records go on changing while it is asked. The count is of those whose cursor lies before an instant, and the ids of
those that were changed since are read beside it, so that they can be left out on the other side too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from gtm_assets import clock
from gtm_assets.catalog.raw_table import Deletes
from gtm_assets.errors import SourceUnavailable
from gtm_assets.sources.salesforce.live.deletions import listed_deletions
from gtm_assets.sources.salesforce.live.extraction import read_page, records_of
from gtm_assets.sources.salesforce.live.query import Description, Span
from gtm_assets.sources.salesforce.live.session import Refused, Session
from gtm_assets.sources.salesforce.org import Totals

ATTEMPTS = 5
"""So often is asked for totals that hold still while they are read."""
_CORPORATE = "SELECT IsoCode FROM CurrencyType WHERE IsCorporate = true"
_CURRENCY = "CurrencyIsoCode"


def count_totals(
    session: Session, description: Description, before: datetime, note: Callable[[str], None]
) -> Totals:
    """The totals of the records whose cursor lies before ``before``.

    Raises:
        Refused: the organisation does not answer such a query.
        SourceUnavailable: records change faster than they can be counted; and as the session raises it.
        CredentialsRefused, BudgetReached: as the session raises them.
    """
    earlier, since = Span(None, before), Span(before, None)
    soft = description.table.deletes is Deletes.SOFT
    alive = ("IsDeleted = false",) if soft else ()
    counting = [description.count(earlier, *alive)]
    if soft:
        counting.append(description.count(earlier, "IsDeleted = true"))
    amounts = description.amounts
    currency = _corporate_currency(session, description) if amounts else None
    own = (*alive, f"{_CURRENCY} = '{currency}'") if currency else alive
    adding = description.ask(", ".join(f"SUM({field})" for field in amounts), earlier, *own) if amounts else None
    changing = description.ask("Id", since)
    for _ in range(ATTEMPTS):
        counts = [_count(session, soql) for soql in counting]
        sums = _first(session, adding) if adding else {}
        changed = {*_ids(session, changing), *_deleted(session, description, before, note)}
        # A record that changes leaves the count. If the count is the same again, nothing changed in between.
        if counts == [_count(session, soql) for soql in counting]:
            return Totals(
                before=before,
                records=counts[0],
                deleted=counts[1] if soft else None,
                sums={
                    column: Decimal(sums.get(f"expr{number}") or 0)
                    for number, column in enumerate(amounts.values())
                },
                currency=currency,
                changed=changed,
                queries=tuple(soql for soql in (*counting, adding, changing) if soql),
            )
    raise SourceUnavailable(
        f"{description.table.qualified_name} changes faster than Salesforce can count it, {ATTEMPTS} times"
    )


def _deleted(
    session: Session, description: Description, since: datetime, note: Callable[[str], None]
) -> Collection[str]:
    """Ids of the records that are gone for good: no query shows that they were changed."""
    until = (session.org_time or clock.now()).replace(second=0, microsecond=0)
    return listed_deletions(session, description, since, until, note)


def _corporate_currency(session: Session, description: Description) -> str | None:
    """The organisation's own currency, to which it converts what it adds up; None where it has but one."""
    if _CURRENCY not in description.types:
        return None
    try:
        return _first(session, _CORPORATE).get("IsoCode")
    except Refused:
        return None


def _query(session: Session, path: str, **params: str) -> Any:
    return session.call("GET", path, read_page, params=params)


def _count(session: Session, soql: str) -> int:
    return int(_query(session, "queryAll", q=soql)["totalSize"])


def _first(session: Session, soql: str) -> dict[str, Any]:
    return next(iter(_query(session, "queryAll", q=soql)["records"]), {})


def _ids(session: Session, soql: str) -> frozenset[str]:
    pages = records_of(_query(session, "queryAll", q=soql), partial(_query, session))
    return frozenset(record["Id"] for records in pages for record in records)
