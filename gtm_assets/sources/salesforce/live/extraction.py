"""One extraction: all records of an object in a span, whole, by REST or by Bulk.

Few records come by REST, a call for 2,000 of them; many by a Bulk job, four calls or more. A query that the
organisation cuts off for its length is asked in halves. What arrives is counted against what was announced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests

from gtm_assets import clock
from gtm_assets.errors import BudgetReached, CredentialsRefused, GtmError, NotReadable, SourceUnavailable
from gtm_assets.sources.salesforce.catalog import SalesforceObject
from gtm_assets.sources.salesforce.live.query import Description, Span
from gtm_assets.sources.salesforce.live.session import Refused, Session, Unsettled, object_with, read_json
from gtm_assets.sources.salesforce.live.spool import Spool

PAGE_ROWS = 100_000
"""Records on a page of Bulk results: what is downloaded again where a connection breaks."""
ATTEMPTS = 3
"""So often is a query asked anew whose pages do not add up, or whose place was lost."""
LONGEST_ADDRESS = 12_000
"""Characters of a query that REST surely takes in an address."""
JOB_HOURS = 4
"""A Bulk job that is not done by then is given up."""
_FIRST_POLL, _LONGEST_POLL = 0.2, 30.0
_LOST_PLACE = {"INVALID_QUERY_LOCATOR", "NOT_FOUND"}
_TIMED_OUT = "QUERY_TIMEOUT"
_UNREADABLE = {
    "NOT_FOUND",
    "INVALID_TYPE",
    "INSUFFICIENT_ACCESS",
    "INSUFFICIENT_ACCESS_OR_READONLY",
    "FUNCTIONALITY_NOT_ENABLED",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
}
_PASSING = {
    _TIMED_OUT,
    "API_ERROR",
    "EXCEEDED_QUOTA",
    "INTERNAL_ERROR",
    "OPERATION_TOO_LARGE",
    "REQUEST_RUNNING_TOO_LONG",
    "SERVER_UNAVAILABLE",
    "UNABLE_TO_LOCK_ROW",
    "UNKNOWN_EXCEPTION",
    *_LOST_PLACE,
}
"""Of an answer with status 400: another time it may be another one. All other codes judge the query itself."""
_HIDDEN_FIELD = "INVALID_FIELD"


class _Lost(GtmError):
    """The query has to be asked anew: its place was lost, or its pages do not add up."""


class _TimedOut(GtmError):
    """The organisation cut the query off for its length."""


class _JobFailed(GtmError):
    """A Bulk job can't be had for this query, or came to nothing."""


@dataclass(frozen=True)
class Ways:
    """Which way an extraction takes."""

    bulk_rows: int
    """From so many records on it is Bulk."""
    may_use_bulk: Callable[[], bool]
    """Whether jobs are left of the day's."""
    poll_seconds: float = _FIRST_POLL


class Extraction:
    """The records of one object, into a spool."""

    def __init__(self, session: Session, description: Description, spool: Spool, ways: Ways) -> None:
        """Nothing is asked yet."""
        self.session, self.description, self.spool, self.ways = session, description, spool, ways
        self.expected = 0
        """Records that the organisation counted, as far as it was asked."""
        self.dropped: list[str] = []
        """Fields that could be described and not queried."""
        self.cancelled = False

    @property
    def table(self) -> SalesforceObject:
        """The object."""
        return self.description.table

    def run(self, span: Span) -> None:
        """Spool all records of the span.

        Raises:
            NotReadable: the organisation doesn't let us query the object.
            SourceUnavailable: no answer of use, or pages that do not add up, three times.
            CredentialsRefused, BudgetReached: as the session raises them.
        """
        while True:
            mark = self.spool.mark
            try:
                return self._in_halves(span)
            except Refused as error:
                self.spool.cut(mark)
                self._drop_hidden_field(error)

    def _drop_hidden_field(self, error: Refused) -> None:
        """Go on without a field that was hidden after the description was read; raise where it was not that."""
        if error.code == _HIDDEN_FIELD:
            for field in self.description.fields:
                quoted = (f"'{field}'", f"'{self.table.api_name}.{field}'", f"{self.table.api_name}.{field} ")
                rest = self.description.without(field)
                if field != "Id" and rest.cursor and any(text in error.message for text in quoted):
                    self.dropped.append(field)
                    self.description = rest
                    return
        if error.status == 400 and error.code not in {*_UNREADABLE, *_PASSING, _HIDDEN_FIELD}:
            # Bulk was tried before where it could be. The same query will be refused tomorrow too.
            raise NotReadable(self.table, f"Salesforce answers {error}", is_of_the_query=True) from None
        raise not_readable(self.table, error) from None

    def _in_halves(self, span: Span) -> None:
        mark = self.spool.mark
        try:
            self._repeated(span)
        except _TimedOut:
            self.spool.cut(mark)
            halves = span.halves(clock.now() + timedelta(days=1))
            if halves is None:
                raise SourceUnavailable(
                    f"{self.table.qualified_name}: Salesforce cuts off the query even for a single minute "
                    f"({_TIMED_OUT}). Ask for an index on {self.table.api_name}.{self.description.cursor}"
                ) from None
            for half in halves:
                self._in_halves(half)

    def _repeated(self, span: Span) -> None:
        mark = self.spool.mark
        for attempt in range(ATTEMPTS):
            try:
                return self._once(span)
            except _Lost as error:
                self.spool.cut(mark)
                if attempt == ATTEMPTS - 1:
                    raise SourceUnavailable(
                        f"{self.table.qualified_name}: {error}, {ATTEMPTS} times. Nothing was landed"
                    ) from None

    def _once(self, span: Span) -> None:
        count = self._count(span)
        self.expected = self.spool.rows + count
        if count == 0:
            return
        too_long = len(self.description.select(span)) > LONGEST_ADDRESS
        if (count >= self.ways.bulk_rows or too_long) and self.ways.may_use_bulk():
            mark = self.spool.mark
            try:
                return self._bulk(span)
            except _JobFailed:
                # REST reads whatever Bulk reads, in more calls.
                self.spool.cut(mark)
        self._rest(span)

    def _count(self, span: Span) -> int:
        return int(self._query("queryAll", q=self.description.count(span))["totalSize"])

    # -- REST ---------------------------------------------------------------------------------------------------

    def _rest(self, span: Span) -> None:
        before = self.spool.rows
        fields = list(self.description.fields)
        answer = self._query("queryAll", q=self.description.select(span))
        total = int(answer["totalSize"])
        for records in records_of(answer, self._query):
            self.spool.add_records(records, fields)
        if self.spool.rows - before != total:
            raise _Lost(f"Salesforce announced {total:,} records and returned {self.spool.rows - before:,}")

    def _query(self, path: str, **params: str) -> Any:
        self._go_on()
        try:
            return self.session.call("GET", path, read_page, params=params)
        except Refused as error:
            if error.code == _TIMED_OUT:
                raise _TimedOut from None
            if error.code in _LOST_PLACE and not params:
                raise _Lost(f"Salesforce has lost the place of a query ({error.code})") from None
            raise

    # -- Bulk ---------------------------------------------------------------------------------------------------

    def _bulk(self, span: Span) -> None:
        job = None
        try:
            query = {"operation": "queryAll", "query": self.description.select(span)}
            job = self.session.post("jobs/query", query, "id", "state")
            self._download(job["id"], self._finished(job))
        except Refused as error:
            if error.code == _TIMED_OUT:
                raise _TimedOut from None
            raise _JobFailed(str(error)) from None
        finally:
            if job is not None:
                self._clear_away(job["id"])

    def _finished(self, job: dict[str, Any]) -> int:
        """Wait for a job; the number of records that it processed."""
        pause, deadline = self.ways.poll_seconds, time.monotonic() + JOB_HOURS * 3600
        path = f"jobs/query/{job['id']}"
        while True:
            self._go_on()
            job = self.session.call("GET", path, _read_job)
            match job["state"]:
                case "JobComplete":
                    return int(job["numberRecordsProcessed"])
                case "Failed" | "Aborted":
                    if _TIMED_OUT in (job.get("errorMessage") or ""):
                        raise _TimedOut
                    raise _JobFailed(job["state"])
            if time.monotonic() > deadline:
                raise SourceUnavailable(
                    f"{self.table.qualified_name}: a Bulk job was not done after {JOB_HOURS} hours"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)

    def _download(self, job_id: str, processed: int) -> None:
        before = self.spool.rows
        fields = list(self.description.fields)

        def page(answer: requests.Response) -> str | None:
            announced = answer.headers.get("Sforce-NumberOfRecords", "")
            self.spool.add_csv(answer, fields, int(announced) if announced.isdigit() else None)
            following = answer.headers.get("Sforce-Locator", "null")
            return None if following in ("", "null") else following

        locator: str | None = None
        while True:
            self._go_on()
            params = {"maxRecords": str(PAGE_ROWS)} | ({"locator": locator} if locator else {})
            here, locator = locator, self.session.call("GET", f"jobs/query/{job_id}/results", page, params=params)
            # A locator that leads to itself, or pages behind the last record, could go on for ever.
            if locator in (None, here) or self.spool.rows - before > processed:
                break
        if self.spool.rows - before != processed:
            raise _Lost(f"a Bulk job processed {processed:,} records and returned {self.spool.rows - before:,}")

    def _clear_away(self, job_id: str) -> None:
        """Delete a job with its results. One that is still there is gone in seven days."""
        passing = (Refused, SourceUnavailable, CredentialsRefused, BudgetReached)
        with suppress(*passing):
            self.session.call("DELETE", f"jobs/query/{job_id}", lambda answer: None)

    def _go_on(self) -> None:
        if self.cancelled:
            raise SourceUnavailable(f"{self.table.qualified_name}: the extraction was cancelled")


def not_readable(table: SalesforceObject, error: Refused) -> Exception:
    """What a refusal means for a table."""
    reason = f"Salesforce answers {error}"
    if error.code in _UNREADABLE:
        return NotReadable(table, reason)
    if error.code == _HIDDEN_FIELD:
        return NotReadable(table, f"{reason}; a field that we can't do without is hidden")
    return SourceUnavailable(f"{table.qualified_name} can't be extracted: {reason}")


def _read_job(answer: requests.Response) -> Any:
    job = object_with("id", "state")(answer)
    if job["state"] == "JobComplete" and not str(job.get("numberRecordsProcessed", "")).isdigit():
        raise Unsettled("a Bulk job is complete and does not say how many records it has")
    return job


def records_of(page: Any, query: Callable[[str], Any]) -> Iterator[list[dict[str, Any]]]:
    """The records of a query's first page and of those that follow, which ``query`` reads.

    A page without records, and one behind the last record, is the last: such pages may go on for ever.
    """
    found, total = 0, int(page["totalSize"])
    while True:
        yield page["records"]
        found += len(page["records"])
        if page["done"] or not page["records"] or found > total:
            return
        page = query(page["nextRecordsUrl"])


def read_page(answer: requests.Response) -> Any:
    """A page of a query, or a number of records, if it is one."""
    page = read_json(answer)
    try:
        whole = page["done"] in (True, False) and int(page["totalSize"]) >= 0
        whole &= page["done"] or page["nextRecordsUrl"].startswith("/services/data/")
        whole &= all(record.keys() for record in page["records"])
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise Unsettled("the answer is not a page of records")
    return page
