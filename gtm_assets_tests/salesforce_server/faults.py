"""Faults that a test switches on: what goes wrong with which request.

``server.faults.add(Fault.RESET, match="results.*locator=", times=2)`` breaks the next two later pages of a
download; ``server.faults.random(seed=7, probability=0.2)`` breaks every fifth request somehow.
"""

from __future__ import annotations

import enum
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta

from gtm_assets_tests.salesforce_server.messages import Request


class Fault(enum.Enum):
    """What can go wrong."""

    SESSION_EXPIRED = "the token is no longer good: 401, and it stays so"
    HTTP_ERROR = "an HTTP error: `status` (503), with Retry-After where `retry_after` is given"
    NOT_JSON = "200 with a page of HTML"
    PROXY = "a proxy answers in Salesforce's place: `status` (403) with `page`, HTML where none is given"
    REFUSED = "Salesforce refuses the request with its own `code`: `status` (400), `message`"
    RESET = "the connection is reset before the reply"
    RESET_IN_BODY = "the connection is reset in the middle of the body"
    CLOSED_IN_BODY = "the connection is closed in the middle of the body"
    TRUNCATED = "half a body, whose headers say that it is whole"
    SHORT_PAGE = "`records` (1) records fewer than the counts of the page say"
    SLOW = "the reply takes `seconds` (0.2) longer"
    CLOCK_SKEW = "the server's clock is `ahead` (5 minutes) of its time: header Date, and the records there are"
    QUERY_TIMEOUT = "the query runs for too long: 400, or a Bulk job that fails"
    FAILED_JOB = "the Bulk job fails with `message`"
    ABORTED_JOB = "somebody aborts the Bulk job"
    LIMIT_REACHED = "the day's requests are used up: 403"
    HIDDEN = "the user has no right to `object`, or to its `field`"


TRANSIENT = (
    Fault.SESSION_EXPIRED,
    Fault.HTTP_ERROR,
    Fault.NOT_JSON,
    Fault.RESET,
    Fault.RESET_IN_BODY,
    Fault.CLOSED_IN_BODY,
    Fault.TRUNCATED,
    Fault.SHORT_PAGE,
)
"""Faults that the same request, made again, does not meet."""

_RECORDS = {"query", "query_more", "job_results"}
_JOBS = {"job_create", "job_status"}
_ONLY = {
    Fault.SESSION_EXPIRED: None,
    Fault.SHORT_PAGE: _RECORDS,
    Fault.FAILED_JOB: _JOBS,
    Fault.ABORTED_JOB: _JOBS,
    Fault.QUERY_TIMEOUT: {"query", "query_more"} | _JOBS,
}
_STATUSES = (500, 502, 503, 429)
_RANGE = 1 << 64


@dataclass
class Active:
    """A fault and which requests meet it."""

    kind: Fault
    match: re.Pattern[str] | Callable[[Request], bool] | None = None
    times: int | None = 1
    after: int = 0
    status: int | None = None
    retry_after: int | None = None
    records: int = 1
    seconds: float = 0.2
    ahead: timedelta = field(default=timedelta(minutes=5))
    message: str = "InternalServerError : Retried more than 15 times"
    code: str = "UNKNOWN_EXCEPTION"
    page: str = "<html><head><title>Access denied</title></head><body>Ask your administrator.</body></html>"
    object: str = ""
    field: str | None = None

    def concerns(self, request: Request) -> bool:
        """True where the fault can happen to a request and is meant for it."""
        if not possible(self.kind, request):
            return False
        if self.match is None:
            return True
        if isinstance(self.match, re.Pattern):
            return self.match.search(request.line) is not None
        return self.match(request)


def possible(kind: Fault, request: Request) -> bool:
    """True where a kind of fault can happen to a request."""
    only = _ONLY.get(kind)
    if request.endpoint == "token":
        return only is None and kind not in (Fault.SESSION_EXPIRED, Fault.LIMIT_REACHED, Fault.HIDDEN)
    return only is None or request.endpoint in only


class Faults:
    """The faults that are switched on. None at first. Safe for threads."""

    def __init__(self) -> None:
        """No faults."""
        self._active: list[Active] = []
        self._random: _Random | None = None
        self._lock = threading.Lock()

    def add(
        self,
        kind: Fault,
        match: str | Callable[[Request], bool] | None = None,
        times: int | None = 1,
        after: int = 0,
        **options: object,
    ) -> None:
        """Switch a fault on.

        ``match`` is a regular expression, searched for in the request's line (see :attr:`Request.line`), or a
        function of the request; None means every request. The first ``after`` that match go well, the next
        ``times`` don't (None: all of them). ``options`` are those that the kind names.
        """
        if kind is Fault.HIDDEN and not options.get("object"):
            raise ValueError("Fault.HIDDEN needs the object that is hidden, or whose field is")
        pattern = re.compile(match) if isinstance(match, str) else match
        with self._lock:
            self._active.append(Active(kind, pattern, times, after, **options))

    def random(
        self, seed: int, probability: float, kinds: Collection[Fault] = TRANSIENT, in_a_row: int = 2
    ) -> None:
        """Each request meets, with ``probability``, one of ``kinds``.

        Draws depend on the seed, the request's endpoint and object and how many of these there were, so that
        clients with several threads meet the same faults. After ``in_a_row`` of one request it goes well.
        """
        with self._lock:
            self._random = _Random(seed, probability, tuple(kinds), in_a_row)

    def clear(self) -> None:
        """Switch all off."""
        with self._lock:
            self._active.clear()
            self._random = None

    @property
    def pending(self) -> list[Fault]:
        """Kinds that are switched on and have not happened as often as they should."""
        with self._lock:
            return [active.kind for active in self._active if active.times is None or active.times > 0]

    def meet(self, request: Request) -> Active | None:
        """The fault that this request meets, which counts as one time."""
        with self._lock:
            for active in self._active:
                if active.times == 0 or not active.concerns(request):
                    continue
                if active.after > 0:
                    active.after -= 1
                    continue
                if active.times is not None:
                    active.times -= 1
                return active
            return self._random.meet(request) if self._random else None


@dataclass
class _Random:
    seed: int
    probability: float
    kinds: tuple[Fault, ...]
    in_a_row: int
    seen: Counter[str] = field(default_factory=Counter)
    row: Counter[str] = field(default_factory=Counter)

    def meet(self, request: Request) -> Active | None:
        key = f"{request.endpoint} {request.object}"
        kinds = [kind for kind in self.kinds if possible(kind, request)]
        number = self.seen[key]
        self.seen[key] += 1
        text = f"{self.seed}|{key}|{number}"
        draw = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
        happens = draw % _RANGE < self.probability * _RANGE
        if not happens or not kinds or self.row[key] >= self.in_a_row:
            self.row[key] = 0
            return None
        self.row[key] += 1
        draw //= _RANGE
        kind = kinds[draw % len(kinds)]
        return Active(kind, times=None, status=_STATUSES[draw // len(kinds) % len(_STATUSES)])
