"""What `gtm doctor` tries of a live organisation: login, rights on objects and fields, what is left of limits."""

from __future__ import annotations

from collections.abc import Iterator

from gtm_assets.errors import BudgetReached, CredentialsRefused, NotReadable, SourceUnavailable
from gtm_assets.settings import DAILY, DAY_MINUTES, REFRESH_MINUTES, Refresh, Settings
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.live.extraction import not_readable
from gtm_assets.sources.salesforce.live.org import REQUESTS_A_REFRESH, REQUESTS_KEPT, read_limits, session_of
from gtm_assets.sources.salesforce.live.query import Description, read_description
from gtm_assets.sources.salesforce.live.session import Refused, Session

_FEATURE_IS_OFF = {"NOT_FOUND", "INVALID_TYPE", "FUNCTIONALITY_NOT_ENABLED"}
"""Salesforce's codes for an object that an organisation lacks."""


def examine(settings: Settings, refresh: Refresh = DAILY) -> Iterator[tuple[bool, str]]:
    """Findings: whether it is well, and a sentence. It costs a request per object and two more.

    ``refresh`` is how often the organisation is to be read.
    """
    try:
        # Try twice only: people who look for a fault don't want to wait until it passes.
        session = session_of(settings, tries=2)
        limits = read_limits(session)
        yield True, f"Salesforce lets us in at {session.login.url}."
        yield from _budget(session)
        if refresh != DAILY:
            yield from _refreshes(session, refresh)
        jobs = limits.get("DailyBulkV2QueryJobs")
        if jobs and int(jobs["Remaining"]) <= 0:
            yield False, "No Bulk query job is left of today's; large tables are read by REST, in many requests."
        yield from _rights(session)
    except (CredentialsRefused, SourceUnavailable, BudgetReached) as error:
        yield False, f"{error}."


def _budget(session: Session) -> Iterator[tuple[bool, str]]:
    used, limit, share = session.budget.used, session.budget.limit, session.budget.share
    if used is None or not limit:
        yield True, "Salesforce doesn't say how many API requests are left."
        return
    left = max(int(share * limit) - used, 0)
    sentence = (
        f"{used:,} of {limit:,} API requests of the last 24 hours are used; {left:,} are left until "
        f"{share:.0%} (GTM_SALESFORCE_API_SHARE)."
    )
    yield left > len(OBJECTS), sentence


def _refreshes(session: Session, refresh: Refresh) -> Iterator[tuple[bool, str]]:
    """Whether so many refreshes a day fit into the limit, where Salesforce says it."""
    needed = {name: DAY_MINUTES // minutes * REQUESTS_A_REFRESH for name, minutes in REFRESH_MINUTES.items()}
    asked = f"Refreshed as GTM_SALESFORCE_REFRESH or GTM_REFRESH says ({refresh}), Salesforce is asked"
    limit, share = session.budget.limit, session.budget.share
    if not limit:
        yield True, f"{asked} some {needed[refresh]:,} API requests a day."
        return
    usable = int(share * limit)
    fitting = [name for name, count in needed.items() if count + REQUESTS_KEPT <= usable]
    of_limit = f"{usable:,} may be used ({share:.0%} of {limit:,}, GTM_SALESFORCE_API_SHARE)"
    if refresh in fitting:
        yield True, f"{asked} some {needed[refresh]:,} API requests a day; {of_limit}."
    else:
        instead = fitting[-1] if fitting else DAILY
        yield (
            False,
            f"{asked} some {needed[refresh]:,} API requests a day, and {of_limit}, {REQUESTS_KEPT:,} of them for "
            f"the daily run. Take {instead}, which asks some {needed[instead]:,}.",
        )


def _rights(session: Session) -> Iterator[tuple[bool, str]]:
    lacking = False
    for table in OBJECTS:
        try:
            try:
                answer = session.call("GET", f"sobjects/{table.api_name}/describe", read_description)
            except Refused as error:
                if table.feature and error.code in _FEATURE_IS_OFF:
                    lacking = True
                    yield True, _without_feature(table)
                    continue
                raise not_readable(table, error) from None
            findings = list(_fields(Description.read(table, answer)))
        except NotReadable as error:
            findings = [(False, f"{error}. Give the platform's user the right to read {table.api_name}.")]
        lacking |= bool(findings)
        yield from findings
    if not lacking:
        yield True, f"All {len(OBJECTS)} objects and their fields can be read."


def _without_feature(table: SalesforceObject) -> str:
    return (
        f"{table.qualified_name} stays empty: the organisation has no {table.api_name}, which comes with "
        f"{table.feature}, or hides it from our user."
    )


def _fields(description: Description) -> Iterator[tuple[bool, str]]:
    """What there is to say of an object's fields: nothing where all can be read."""
    table, name = description.table, description.table.qualified_name
    optional = {column.api_name: column.optional for column in table.columns if column.optional}
    if description.stand_in:
        yield (
            False,
            f"{name}: {description.own_cursor} can't be read, and {description.stand_in} stands for it as the "
            f"cursor. Give the platform's user this field of {table.api_name}.",
        )
    if hidden := [field for field in description.hidden if field not in optional]:
        yield (
            False,
            f"{name}: {', '.join(hidden)} can't be read and land as null. Give the platform's user these fields "
            f"of {table.api_name}, where the organisation has them.",
        )
    if absent := [f"{field} ({optional[field]})" for field in description.hidden if field in optional]:
        yield True, f"{name}: null, as the organisation does not have it or hides it: {', '.join(absent)}."
