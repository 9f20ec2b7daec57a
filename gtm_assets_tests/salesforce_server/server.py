"""The server: the API's resources, and how requests and replies travel."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import polars as pl

from gtm_assets import clock
from gtm_assets.catalog.raw_table import fivetran_name
from gtm_assets.sources.salesforce.catalog import SalesforceObject
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets_tests.salesforce_server import bulk, query, soql
from gtm_assets_tests.salesforce_server.errors import (
    ApiError,
    limit_reached,
    not_found,
    query_timeout,
    session_expired,
)
from gtm_assets_tests.salesforce_server.faults import Active, Fault, Faults
from gtm_assets_tests.salesforce_server.messages import Logged, Reply, Request
from gtm_assets_tests.salesforce_server.oauth import ConnectedApp, Sessions
from gtm_assets_tests.salesforce_server.objects import (
    Objects,
    View,
    has_deletes,
    lists_deletions,
    make_id,
    object_summary,
)
from gtm_assets_tests.salesforce_server.render import json_records, moment

OLDEST_VERSION, NEWEST_VERSION = 50, 65
PAGE_ROWS = 2000
_SMALLEST_PAGE, _LARGEST_PAGE = 200, 2000
_CURSORS_KEPT = 200
_LONGEST_URL = 16_384
DELETED_DAYS = 15
"""How far back ``deleted`` reaches."""

_ROUTES: tuple[tuple[str, str, str], ...] = (
    ("POST", r"/services/oauth2/token", "token"),
    ("GET", r"/services/data", "versions"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)", "resources"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/limits", "limits"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/sobjects", "objects"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/sobjects/(?P<object>\w+)/describe", "describe"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/sobjects/(?P<object>\w+)/deleted", "deleted"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/(?P<operation>query|queryAll)", "query"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/(query|queryAll)/(?P<locator>[\w-]+)", "query_more"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/jobs/query", "jobs"),
    ("POST", r"/services/data/v(?P<version>\d+\.0)/jobs/query", "job_create"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/jobs/query/(?P<job>\w+)", "job_status"),
    ("PATCH", r"/services/data/v(?P<version>\d+\.0)/jobs/query/(?P<job>\w+)", "job_change"),
    ("DELETE", r"/services/data/v(?P<version>\d+\.0)/jobs/query/(?P<job>\w+)", "job_delete"),
    ("GET", r"/services/data/v(?P<version>\d+\.0)/jobs/query/(?P<job>\w+)/results", "job_results"),
)
_PATTERNS = tuple((method, re.compile(path), endpoint) for method, path, endpoint in _ROUTES)


@dataclass(frozen=True)
class _Cursor:
    """An open query: later pages come from what it found when it was asked."""

    result: query.Result
    page_rows: int


@dataclass
class _Call:
    """A request under way: the instant it sees the org at, what is hidden from it, and the fault it meets."""

    request: Request
    args: dict[str, str]
    now: datetime
    fault: Active | None

    def meets(self, kind: Fault) -> bool:
        return self.fault is not None and self.fault.kind is kind

    @property
    def base(self) -> str:
        return f"/services/data/v{self.request.version}"


class SalesforceServer:
    """A local Salesforce. Use it as a context manager; see the package for how."""

    def __init__(
        self,
        org: SyntheticOrg | None = None,
        now: datetime | None = None,
        app: ConnectedApp | None = None,
        token_lifetime: timedelta = timedelta(hours=2),
        daily_requests: int = 100_000,
        not_in_bulk: Iterable[str] = ("ForecastingItem",),
        bulk_datetime_zone: str = "Z",
        port: int = 0,
    ) -> None:
        """A server that is not running yet.

        ``now`` is the instant at which the org stands, until a test sets another; None: it goes with the clock,
        by whole minutes. ``not_in_bulk`` names objects that the Bulk API refuses. ``bulk_datetime_zone`` is what
        datetimes in CSV end in: ``Z`` or ``+0000``. ``port`` 0 takes a free one.
        """
        self.org = org or SyntheticOrg()
        self._now = now.astimezone(UTC) if now else None
        self.app = app or ConnectedApp()
        self.sessions = Sessions(self.app, token_lifetime)
        self.objects = Objects(self.org)
        self.jobs = bulk.Jobs()
        self.faults = Faults()
        self.daily_requests = daily_requests
        self.requests_used = 0
        self.not_in_bulk = set(not_in_bulk)
        self.bulk_datetime_zone = bulk_datetime_zone
        self.bulk_page_rows = 100_000
        self.polls_in_progress = 1
        """How many looks at a job's status find it in progress."""
        self.log: list[Logged] = []
        self._own_faults: list[Exception] = []
        self._other_objects: dict[str, dict[str, Any]] = {}
        self._hidden_objects: set[str] = set()
        self._hidden_fields: dict[str, set[str]] = {}
        self._queries = 0
        self._cursors: OrderedDict[str, _Cursor] = OrderedDict()
        self._lock = threading.Lock()
        self._answering = 0
        self._answered = threading.Condition()
        self._port = port
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    # Running

    def __enter__(self) -> SalesforceServer:
        """Start."""
        self._http = _Http(self._port, self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop.

        Raises:
            ExceptionGroup: the server itself broke while it answered.
        """
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._http = None
        if self._own_faults:
            raise ExceptionGroup("the local Salesforce broke", self._own_faults)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request until it is in the log."""
        with self._answered:
            self._answering += 1
        try:
            yield
        finally:
            with self._answered:
                self._answering -= 1
                self._answered.notify_all()

    def wait_until_idle(self, seconds: float = 60) -> None:
        """Wait for the requests that are being answered, whose client may have given them up.

        Raises:
            TimeoutError: one is still being answered.
        """
        with self._answered:
            if not self._answered.wait_for(lambda: self._answering == 0, seconds):
                raise TimeoutError(f"{self._answering} requests are still being answered")

    @property
    def url(self) -> str:
        """Where it listens: login and instance address in one."""
        if self._http is None:
            raise RuntimeError("the server is not running")
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    # What a test may change

    @property
    def now(self) -> datetime:
        """The instant at which the org stands, UTC."""
        return self._now or clock.now().replace(second=0, microsecond=0)

    @now.setter
    def now(self, at: datetime) -> None:
        self._now = at.astimezone(UTC)

    def expire_sessions(self) -> None:
        """All tokens given so far are no longer good."""
        self.sessions.expire_all()

    def hide(self, object_: str, field: str | None = None) -> None:
        """The user loses the right to an object, or to one of its fields (API names)."""
        table = self.objects.table(object_)
        if field is None:
            self._hidden_objects.add(table.api_name)
            return
        if field not in [f.name for f in self.objects.view(table, self.now, frozenset()).fields]:
            raise ValueError(f"{table.api_name} has no field {field}")
        self._hidden_fields.setdefault(table.api_name, set()).add(field)

    def show(self, object_: str, field: str | None = None) -> None:
        """The user gets a right back."""
        table = self.objects.table(object_)
        if field is None:
            self._hidden_objects.discard(table.api_name)
            return
        self._hidden_fields.get(table.api_name, set()).discard(field)

    def add_object(self, name: str, **summary: Any) -> None:
        """The list of all objects names one more, which can't be read. ``summary`` replaces what the list says."""
        custom = dataclasses.replace(next(iter(self.objects.tables.values())), api_name=name)
        self._other_objects[name] = object_summary(custom, "/services/data") | summary

    def edit(self, object_: str, id_: str, *, touch: bool = True, **values: Any) -> None:
        """From now on a record holds other values (by API name).

        With ``touch`` its SystemModstamp and LastModifiedDate are now, where it has them; without, they stay,
        as when a formula changes.
        """
        table = self.objects.table(object_)
        stamps = [name for name in ("system_modstamp", "last_modified_date") if touch and name in table.types]
        made = dict.fromkeys(stamps, self.now) | {fivetran_name(name): value for name, value in values.items()}
        self.objects.edit(table, self.now, id_, made)

    def delete(self, object_: str, id_: str) -> None:
        """From now on a record is in the recycle bin."""
        if not has_deletes(self.objects.table(object_)):
            raise ValueError(f"{object_} has no IsDeleted: purge the record")
        self.edit(object_, id_, IsDeleted=True)

    def purge(self, object_: str, id_: str) -> None:
        """From now on a record is gone for good: no query shows it, ``deleted`` does for 15 days."""
        self.objects.purge(self.objects.table(object_), self.now, id_)

    # Answering

    def broke(self, error: Exception) -> None:
        """Note a fault of the server's own: stopping it will raise it."""
        self._own_faults.append(error)

    def answer(self, request: Request) -> tuple[Reply, Active | None]:
        """The reply to a request, and the fault that breaks it on its way."""
        args = self._route(request)
        fault = self.faults.meet(request)
        now = self.now + (fault.ahead if fault and fault.kind is Fault.CLOCK_SKEW else timedelta(0))
        call = _Call(request, args, now, fault)
        try:
            reply = self._broken(call) or self._reply(call)
        except ApiError as error:
            reply = Reply.error(error)
        except Exception as error:
            self.broke(error)
            reply = Reply.error(ApiError(500, "UNKNOWN_EXCEPTION", f"the local server broke: {error!r}"))
        if request.endpoint not in ("token", "versions"):
            reply.headers["Sforce-Limit-Info"] = f"api-usage={self.requests_used}/{self.daily_requests}"
        reply.headers["Date"] = format_datetime(now, usegmt=True)
        return reply, fault

    def _route(self, request: Request) -> dict[str, str]:
        path = request.path.rstrip("/")
        for method, pattern, endpoint in _PATTERNS:
            match = pattern.fullmatch(path)
            if match is None or method != request.method:
                continue
            args = {name: value for name, value in match.groupdict().items() if value is not None}
            request.endpoint = endpoint
            request.version = args.get("version", "")
            self._read(request, args)
            return args
        return {}

    def _read(self, request: Request, args: dict[str, str]) -> None:
        """Which object and which query a request is about."""
        request.object = args.get("object", "")
        if "job" in args:
            job = self.jobs.find(args["job"])
            if job is not None:
                request.object, request.soql = job.object, job.query
            return
        if request.endpoint == "query":
            request.soql = request.params.get("q", "")
        elif request.endpoint == "job_create":
            try:
                request.soql = str(json.loads(request.body).get("query", ""))
            except (ValueError, AttributeError):
                request.soql = ""
        elif request.endpoint == "query_more":
            cursor = self._cursors.get(args["locator"].rpartition("-")[0])
            request.object = cursor.result.object if cursor else ""
        if request.soql:
            named = re.search(r"\bfrom\s+(\w+)", request.soql, re.IGNORECASE)
            known = self.objects.tables.get(named[1].lower()) if named else None
            request.object = known.api_name if known else ""

    def _broken(self, call: _Call) -> Reply | None:
        """The reply where the request is not even looked at."""
        fault = call.fault
        if fault is None:
            return None
        if fault.kind is Fault.SLOW:
            time.sleep(fault.seconds)
        elif fault.kind is Fault.SESSION_EXPIRED:
            self.sessions.expire(call.request.headers.get("authorization", ""))
        elif fault.kind is Fault.LIMIT_REACHED:
            raise limit_reached()
        elif fault.kind is Fault.HTTP_ERROR:
            return _http_error(fault.status or 503, fault.retry_after)
        elif fault.kind is Fault.PROXY:
            kind = "application/json" if fault.page[:1] in ("{", "[") else "text/html"
            return Reply(fault.status or 403, fault.page.encode(), {"Content-Type": kind})
        elif fault.kind is Fault.REFUSED and call.request.endpoint == "token":
            refusal = {"error": fault.code, "error_description": fault.message}
            return Reply.json(refusal, fault.status or 400)
        elif fault.kind is Fault.REFUSED:
            raise ApiError(fault.status or 400, fault.code, fault.message)
        elif fault.kind is Fault.NOT_JSON:
            page = b"<html><head><title>Salesforce</title></head><body>We are down for maintenance.</body></html>"
            return Reply(200, page, {"Content-Type": "text/html;charset=UTF-8"})
        elif fault.kind is Fault.QUERY_TIMEOUT and call.request.endpoint in ("query", "query_more"):
            raise query_timeout()
        return None

    def _reply(self, call: _Call) -> Reply:
        request = call.request
        if request.endpoint == "token":
            return self.sessions.token(request, self.url)
        if request.endpoint == "versions":
            return Reply.json(
                [
                    {"label": f"Release {number}", "url": f"/services/data/v{number}.0", "version": f"{number}.0"}
                    for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)
                ]
            )
        if not self.sessions.is_open(request.headers.get("authorization", "")):
            raise session_expired()
        with self._lock:
            if self.requests_used >= self.daily_requests:
                raise limit_reached()
            self.requests_used += 1
        allowed = sorted(method for method, pattern, _ in _PATTERNS if pattern.fullmatch(request.path.rstrip("/")))
        if allowed and not request.endpoint:
            message = f"HTTP Method '{request.method}' not allowed. Allowed are {','.join(allowed)}"
            raise ApiError(405, "METHOD_NOT_ALLOWED", message)
        if request.endpoint and float(request.version) < OLDEST_VERSION:
            raise ApiError(410, "UNSUPPORTED_API_VERSION", "The requested API version has been retired.")
        if not request.endpoint or float(request.version) > NEWEST_VERSION:
            raise not_found()
        handle: Callable[[_Call], Reply] = getattr(self, f"_on_{request.endpoint}")
        return handle(call)

    # What a request may see

    def _table(self, call: _Call, name: str, missing: Callable[[], ApiError]) -> SalesforceObject:
        table = self.objects.tables.get(name.lower())
        if table is None or table.api_name in self._hidden_objects or self._hides(call, table, None):
            raise missing()
        return table

    def _view(self, call: _Call, table: SalesforceObject) -> View:
        hidden = set(self._hidden_fields.get(table.api_name, ()))
        if call.meets(Fault.HIDDEN) and call.fault.field and self._hides(call, table, call.fault.field):
            hidden.add(call.fault.field)
        return self.objects.view(table, call.now, frozenset(hidden))

    @staticmethod
    def _hides(call: _Call, table: SalesforceObject, field: str | None) -> bool:
        """True where the request's fault takes the object (or its field) away."""
        return call.meets(Fault.HIDDEN) and call.fault.object == table.api_name and call.fault.field == field

    def _found(
        self, call: _Call, text: str, all_records: bool, check: Callable[[soql.Query], None]
    ) -> query.Result:
        asked = soql.parse(text)

        def missing() -> ApiError:
            message = (
                f"sObject type '{asked.object.text}' is not supported. If you are attempting to use a custom "
                "object, be sure to append the '__c' after the entity name. Please reference your WSDL or the "
                "describe call for the appropriate names."
            )
            return ApiError(400, "INVALID_TYPE", soql.at_position(text, asked.object.at, message))

        table = self._table(call, asked.object.text, missing)
        check(asked)
        return query.run(asked, self._view(call, table), all_records)

    # Resources

    def _on_resources(self, call: _Call) -> Reply:
        names = ("limits", "sobjects", "query", "queryAll", "jobs")
        return Reply.json({name: f"{call.base}/{name}" for name in names})

    def _on_limits(self, call: _Call) -> Reply:
        megabytes = 1_000_000
        used = {
            "DailyApiRequests": (self.daily_requests, self.requests_used),
            "DailyBulkApiBatches": (15_000, 0),
            "DailyBulkV2QueryJobs": (bulk.JOBS_A_DAY, self.jobs.made),
            "DailyBulkV2QueryFileStorageMB": (976_562, self.jobs.bytes_sent // megabytes),
        }
        return Reply.json({name: {"Max": most, "Remaining": most - n} for name, (most, n) in used.items()})

    def _on_objects(self, call: _Call) -> Reply:
        tables = [t for t in self.objects.tables.values() if t.api_name not in self._hidden_objects]
        shown = [object_summary(t, call.base) for t in tables if not self._hides(call, t, None)]
        shown += self._other_objects.values()
        return Reply.json({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": shown})

    def _on_describe(self, call: _Call) -> Reply:
        table = self._table(call, call.args["object"], not_found)
        return Reply.json(self._view(call, table).describe(call.base))

    def _on_query(self, call: _Call) -> Reply:
        text = call.request.params.get("q")
        if not text:
            raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
        found = self._found(call, text, call.args["operation"] == "queryAll", lambda _: None)
        cursor = _Cursor(found, _page_rows(call.request.headers.get("sforce-query-options", "")))
        with self._lock:
            self._queries += 1
            locator = make_id("01g", self._queries)
            if found.frame.height > cursor.page_rows:
                self._cursors[locator] = cursor
            while len(self._cursors) > _CURSORS_KEPT:
                self._cursors.popitem(last=False)
        return self._page(call, cursor, locator, 0)

    def _on_query_more(self, call: _Call) -> Reply:
        locator, _, start = call.args["locator"].rpartition("-")
        cursor = self._cursors.get(locator)
        if cursor is None or not start.isdigit() or int(start) >= cursor.result.frame.height:
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(call, cursor, locator, int(start))

    @staticmethod
    def _page(call: _Call, cursor: _Cursor, locator: str, start: int) -> Reply:
        result = cursor.result
        rows = result.frame.slice(start, cursor.page_rows)
        end = start + rows.height
        records = json_records(result.fields, rows, result.object, call.base)
        if call.meets(Fault.SHORT_PAGE):
            records = records[: max(len(records) - call.fault.records, 0)]
        page: dict[str, Any] = {"totalSize": result.total, "done": end >= result.frame.height}
        if not page["done"]:
            page["nextRecordsUrl"] = f"{call.base}/query/{locator}-{end}"
        return Reply.json(page | {"records": records})

    def _on_deleted(self, call: _Call) -> Reply:
        table = self._table(call, call.args["object"], not_found)
        if not lists_deletions(table):
            raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"sObject type '{table.api_name}' is not replicable")
        start, end = (_instant(call.request.params, name) for name in ("start", "end"))
        earliest = call.now - timedelta(days=DELETED_DAYS)
        if start < earliest:
            message = f"startDate before org replication enablement date: {moment(earliest)}"
            raise ApiError(400, "INVALID_REPLICATION_DATE", message)
        if start + timedelta(minutes=1) > end:
            raise ApiError(400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute after startDate")
        frame = self.objects.frame(table, call.now)
        cursor = pl.col(table.cursor)
        is_in_bin = pl.col("is_deleted") if has_deletes(table) else pl.lit(False)
        in_bin = frame.filter(is_in_bin & (cursor >= start) & (cursor < end))
        found = [(when, id_) for when, id_ in self.objects.purged(table, call.now) if start <= when < end]
        found += in_bin.select(table.cursor, "id").rows()
        return Reply.json(
            {
                "deletedRecords": [{"deletedDate": moment(when), "id": id_} for when, id_ in sorted(found)],
                "earliestDateAvailable": moment(earliest),
                "latestDateCovered": moment(min(end, call.now)),
            }
        )

    # Bulk

    def _on_job_create(self, call: _Call) -> Reply:
        operation, text, line_ending, delimiter = bulk.check_request(call.request.json())
        if self.jobs.made >= bulk.JOBS_A_DAY:
            message = f"Max bulk v2 query jobs ({bulk.JOBS_A_DAY}) per 24 hrs has been reached ({self.jobs.made})"
            raise ApiError(400, "LIMIT_EXCEEDED", message)
        if call.request.object in self.not_in_bulk:
            message = f"Entity '{call.request.object}' is not supported by the Bulk API."
            raise ApiError(400, "INVALIDENTITY", message)
        found = self._found(call, text, operation == "queryAll", bulk.check_query)
        job = bulk.Job(
            id=self.jobs.new_id(),
            operation=operation,
            object=found.object,
            query=text,
            created=call.now,
            version=call.request.version,
            line_ending=line_ending,
            delimiter=delimiter,
            result=found,
            polls_left=self.polls_in_progress,
        )
        self.jobs.add(job)
        reply = Reply.json(job.created_as())
        self._end_job(call, job)
        return reply

    def _on_jobs(self, call: _Call) -> Reply:
        records = [job.status() for job in self.jobs.all()]
        return Reply.json({"done": True, "records": records, "nextRecordsUrl": None})

    def _on_job_status(self, call: _Call) -> Reply:
        job = self.jobs.get(call.args["job"])
        self._end_job(call, job)
        job.advance(call.now)
        return Reply.json(job.status())

    @staticmethod
    def _end_job(call: _Call, job: bulk.Job) -> None:
        """What the request's fault does to the job."""
        if call.meets(Fault.FAILED_JOB):
            job.end("Failed", call.now, call.fault.message)
        elif call.meets(Fault.QUERY_TIMEOUT):
            job.end("Failed", call.now, f"QUERY_TIMEOUT: {query_timeout().message}")
        elif call.meets(Fault.ABORTED_JOB):
            job.end("Aborted", call.now)

    def _on_job_change(self, call: _Call) -> Reply:
        job = self.jobs.get(call.args["job"])
        if call.request.json().get("state") != "Aborted":
            raise ApiError(400, "INVALIDJOBSTATE", "A query job can only be aborted")
        if job.state in ("JobComplete", "Failed"):
            raise ApiError(400, "INVALIDJOBSTATE", f"Aborting already {job.state} job not allowed")
        job.end("Aborted", call.now)
        return Reply.json(job.created_as())

    def _on_job_delete(self, call: _Call) -> Reply:
        self.jobs.delete(self.jobs.get(call.args["job"]))
        return Reply(204)

    def _on_job_results(self, call: _Call) -> Reply:
        job = self.jobs.get(call.args["job"])
        short = call.fault.records if call.meets(Fault.SHORT_PAGE) else 0
        reply = bulk.results(job, call.request.params, self.bulk_page_rows, self.bulk_datetime_zone, short)
        reply.body = self._counted(reply.body)
        return reply

    def _counted(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        for chunk in chunks:
            self.jobs.bytes_sent += len(chunk)
            yield chunk


def _page_rows(options: str) -> int:
    asked = re.search(r"batchSize\s*=\s*(\d+)", options, re.IGNORECASE)
    return PAGE_ROWS if asked is None else min(max(int(asked[1]), _SMALLEST_PAGE), _LARGEST_PAGE)


def _instant(params: dict[str, str], name: str) -> datetime:
    try:
        at = datetime.fromisoformat(params[name])
    except (KeyError, ValueError):
        message = f"{name}: a datetime such as 2026-09-01T00:00:00+00:00 is needed, not {params.get(name)}"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message) from None
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)


def _http_error(status: int, retry_after: int | None) -> Reply:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status == 500:
        message = "An unexpected error occurred. Please include this ErrorId if you contact support: 1234"
        reply = Reply.error(ApiError(500, "UNKNOWN_EXCEPTION", message))
        reply.headers |= headers
        return reply
    # What stands before Salesforce's servers answers in HTML, or not at all.
    body = b"" if status == 406 else f"<html><body><h1>{status}</h1></body></html>".encode()
    return Reply(status, body, headers | {"Content-Type": "text/html"})


# How requests and replies travel


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, server: SalesforceServer) -> None:
        super().__init__(("127.0.0.1", port), _handler(server))
        self._server = server

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is no fault of ours."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self._server.broke(error)


def _handler(server: SalesforceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "sfdc"
        sys_version = ""
        # A reply is written in several pieces; none may wait for an acknowledgement of the one before.
        disable_nagle_algorithm = True

        def do(self) -> None:
            request = self._request()
            with server.answering():
                if len(self.path) > _LONGEST_URL:
                    reply, fault = Reply(414, b"<h1>URI Too Long</h1>", {"Content-Type": "text/html"}), None
                else:
                    reply, fault = server.answer(request)
                kind = fault.kind if fault else None
                status = None if kind is Fault.RESET else reply.status
                server.log.append(
                    Logged(
                        request.method,
                        request.path,
                        request.params,
                        request.endpoint,
                        request.object,
                        request.soql,
                        status,
                        kind.name if kind else None,
                    )
                )
            self._send(reply, kind)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do

        def log_message(self, *_: object) -> None:
            """Requests are kept in the server's own log."""

        def _request(self) -> Request:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            params = dict(parse_qsl(parts.query, keep_blank_values=True))
            return Request(self.command, unquote(parts.path), params, headers, self._body(headers))

        def _body(self, headers: dict[str, str]) -> bytes:
            if headers.get("transfer-encoding", "").lower() != "chunked":
                body = self.rfile.read(int(headers.get("content-length") or 0))
            else:
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                body = b"".join(chunks)
            return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body

        def _send(self, reply: Reply, kind: Fault | None) -> None:
            if kind is Fault.RESET:
                self._reset()
                return
            if kind is Fault.TRUNCATED:
                body = reply.whole()
                reply.body = body[: len(body) // 2]
            wants_gzip = "gzip" in self.headers.get("Accept-Encoding", "") and reply.status != 204
            breaks = kind in (Fault.RESET_IN_BODY, Fault.CLOSED_IN_BODY)
            if isinstance(reply.body, bytes) or breaks:
                body = reply.whole()
                if wants_gzip and body:
                    body = gzip.compress(body, 1)
                    reply.headers["Content-Encoding"] = "gzip"
                self._head(reply)
                if reply.status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if breaks else body)
                if kind is Fault.RESET_IN_BODY:
                    self._reset()
                self.close_connection |= breaks
                return
            chunks = _compressed(reply.body) if wants_gzip else reply.body
            if wants_gzip:
                reply.headers["Content-Encoding"] = "gzip"
            self._head(reply)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in chunks:
                if chunk:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")

        def _head(self, reply: Reply) -> None:
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)

        def _reset(self) -> None:
            """Closed with unsent data thrown away: the client's system sees a reset."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            self.close_connection = True

    return Handler


def _compressed(chunks: Iterable[bytes]) -> Iterable[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()
