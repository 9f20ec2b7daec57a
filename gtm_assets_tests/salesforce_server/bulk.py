"""Bulk API 2.0 query jobs: their states and their results."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gtm_assets_tests.salesforce_server import soql
from gtm_assets_tests.salesforce_server.errors import ApiError, not_found
from gtm_assets_tests.salesforce_server.messages import Reply
from gtm_assets_tests.salesforce_server.oauth import USER_ID
from gtm_assets_tests.salesforce_server.objects import make_id
from gtm_assets_tests.salesforce_server.query import Result
from gtm_assets_tests.salesforce_server.render import DELIMITERS, LINE_ENDINGS, csv_chunks, moment

OPERATIONS = ("query", "queryAll")
JOBS_A_DAY = 10_000
_DONE = ("JobComplete", "Failed", "Aborted")


@dataclass
class Job:
    """A query job. ``polls_left`` says how often its status is still InProgress."""

    id: str
    operation: str
    object: str
    query: str
    created: datetime
    version: str
    line_ending: str
    delimiter: str
    result: Result
    polls_left: int
    state: str = "UploadComplete"
    changed: datetime | None = None
    message: str | None = None

    def advance(self, now: datetime) -> None:
        """One step on, as time would bring it."""
        if self.state in _DONE:
            return
        self.changed = now
        if self.polls_left > 0:
            self.polls_left -= 1
            self.state = "InProgress"
        else:
            self.state = "JobComplete"

    def end(self, state: str, now: datetime, message: str | None = None) -> None:
        """Failed or Aborted, unless it is over."""
        if self.state not in _DONE:
            self.state, self.changed, self.message = state, now, message

    def created_as(self) -> dict[str, Any]:
        """What its creation is answered with."""
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": USER_ID,
            "createdDate": moment(self.created),
            "systemModstamp": moment(self.changed or self.created),
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version),
            "lineEnding": self.line_ending,
            "columnDelimiter": self.delimiter,
        }

    def status(self) -> dict[str, Any]:
        """What a look at it is answered with."""
        status = self.created_as() | {"jobType": "V2Query", "retries": 0, "totalProcessingTime": 0}
        if self.state in _DONE:
            done = self.state == "JobComplete"
            status |= {"numberRecordsProcessed": self.result.total if done else 0, "totalProcessingTime": 1234}
            status["isPkChunkingSupported"] = True
        if self.message is not None:
            status["errorMessage"] = self.message
        return status


class Jobs:
    """All jobs of the org. Safe for threads."""

    def __init__(self) -> None:
        """No jobs."""
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self.made = 0
        self.bytes_sent = 0

    def new_id(self) -> str:
        """The id of one more job."""
        with self._lock:
            self.made += 1
            return make_id("750", self.made)

    def add(self, job: Job) -> None:
        """Keep a job."""
        with self._lock:
            self._jobs[job.id] = job

    def get(self, id_: str) -> Job:
        """The job of an id, 15 characters or 18.

        Raises:
            ApiError: there is none.
        """
        with self._lock:
            found = next((job for job in self._jobs.values() if job.id[:15] == id_[:15]), None)
        if found is None:
            raise not_found()
        return found

    def find(self, id_: str) -> Job | None:
        """The job of an id, or None."""
        try:
            return self.get(id_)
        except ApiError:
            return None

    def all(self) -> list[Job]:
        """All jobs, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def delete(self, job: Job) -> None:
        """Forget a job that is over.

        Raises:
            ApiError: it is not over.
        """
        if job.state not in _DONE:
            raise ApiError(
                400, "API_ERROR", "Error encountered when deleting the job because the job is not terminated"
            )
        with self._lock:
            self._jobs.pop(job.id, None)


def check_request(body: dict[str, Any]) -> tuple[str, str, str, str]:
    """Operation, query, line ending and delimiter that a new job asks for.

    Raises:
        ApiError: something is missing or unknown.
    """
    operation = body.get("operation")
    if operation not in OPERATIONS:
        raise ApiError(400, "INVALIDOPERATION", f"Operation '{operation}' is not supported on this resource")
    query = body.get("query")
    if not isinstance(query, str) or not query.strip():
        raise ApiError(400, "INVALIDQUERY", "A query is required")
    line_ending, delimiter = body.get("lineEnding", "LF"), body.get("columnDelimiter", "COMMA")
    if line_ending not in LINE_ENDINGS or delimiter not in DELIMITERS or body.get("contentType", "CSV") != "CSV":
        raise ApiError(400, "INVALIDJOB", "Unknown contentType, lineEnding or columnDelimiter")
    return operation, query, line_ending, delimiter


def check_query(query: soql.Query) -> None:
    """Refuse what Bulk does not do.

    Raises:
        ApiError: the query aggregates or has an OFFSET.
    """
    if query.count or query.aggregates:
        raise ApiError(400, "API_ERROR", "Aggregate Relationships not supported in Bulk Query")
    if query.offset is not None:
        raise ApiError(400, "API_ERROR", "OFFSET is not supported in Bulk Query")


def results(job: Job, params: dict[str, str], page_rows: int, zone: str, short: int) -> Reply:
    """A page of a job's results; ``short`` records are left out in silence.

    Raises:
        ApiError: the job is not complete, or the locator is not one.
    """
    if job.state != "JobComplete":
        raise ApiError(400, "INVALIDJOBSTATE", f"Results are not available: the job's state is {job.state}")
    start = _place(params.get("locator"), job.result.total)
    rows = _count(params.get("maxRecords"), page_rows)
    page = job.result.frame.slice(start, rows)
    end = start + page.height
    headers = {
        "Content-Type": "text/csv",
        "Sforce-NumberOfRecords": str(page.height),
        "Sforce-Locator": locator(end) if end < job.result.total else "null",
    }
    sent = page.head(max(page.height - short, 0))
    return Reply(200, csv_chunks(job.result.fields, sent, job.delimiter, job.line_ending, zone), headers)


def locator(place: int) -> str:
    """The locator of a place in the results."""
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def _place(text: str | None, total: int) -> int:
    if text is None or text == "":
        return 0
    try:
        place = int(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        place = -1
    if not 0 < place < total or locator(place) != text:
        raise ApiError(400, "INVALIDLOCATOR", f"Invalid locator: {text}")
    return place


def _count(text: str | None, usual: int) -> int:
    if text is None or text == "":
        return usual
    if not text.isdigit() or int(text) == 0:
        raise ApiError(400, "API_ERROR", f"maxRecords must be a positive number, not {text}")
    return int(text)
