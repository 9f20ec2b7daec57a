"""A live organisation as a source: what its tables hold, described, queried and spooled, several at once."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import requests

from gtm_assets import clock
from gtm_assets.catalog.raw_table import Deletes, Described
from gtm_assets.errors import NotReadable, SourceUnavailable
from gtm_assets.partitions import Window, boundary, partition_of
from gtm_assets.settings import Settings
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.live.deletions import listed_deletions
from gtm_assets.sources.salesforce.live.extraction import Extraction, Ways, not_readable
from gtm_assets.sources.salesforce.live.query import CURSORS, Description, Span, drift, read_description
from gtm_assets.sources.salesforce.live.session import (
    TRIES,
    Budget,
    Login,
    Refused,
    Session,
    Unsettled,
    object_with,
    read_secret,
)
from gtm_assets.sources.salesforce.live.spool import Spool, SpoolRoot
from gtm_assets.sources.salesforce.live.totals import count_totals
from gtm_assets.sources.salesforce.org import Totals

REQUESTS_A_REFRESH = 3 * len(OBJECTS) + 7
"""Requests of a refresh in which each table has changed a little: its description, a count and a page; for the
objects without a recycle bin what was deleted; and limits and the list of objects."""
REQUESTS_KEPT = 10 * len(OBJECTS)
"""Requests that refreshes within the day leave to the partition's own run, which may have thousands of changes."""
DELETIONS_LOOKBACK = timedelta(days=1)
"""Salesforce's log of deletions may lag."""
AHEAD = 4
"""How many finished extractions may wait on disk for their step, for each query that may run at a time."""
TELL_SECONDS = 10.0
TOLD_ROWS = 10_000
"""An extraction of fewer records gets no line in the log."""
LONGEST_SKEW = timedelta(minutes=5)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What one step will ask for."""

    table: SalesforceObject
    window: Window
    full: bool = False


@dataclass
class _Task:
    """One extraction, waiting, under way or done."""

    wanted: Wanted
    spool: Spool
    extraction: Extraction | None = None
    error: BaseException | None = None
    is_taken: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    seconds: float = 0.0


class LiveOrg:
    """A live organisation, for one run.

    What the run will ask for (``plan``, in order) is extracted ahead, ``parallel`` queries at a time, and waits on
    disk; whatever else is asked for comes first. Descriptions are read once.
    """

    def __init__(
        self,
        session: Session,
        folder: Path,
        *,
        lookback: timedelta,
        bulk_rows: int,
        parallel: int,
        poll_seconds: float | None = None,
        plan: Sequence[Wanted] = (),
        say: Callable[[str], None] = _log.info,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        """Nothing is asked before the first extraction. ``folder`` holds pages on their way, and descriptions."""
        self.session, self.lookback, self.parallel, self.say, self.warn = session, lookback, parallel, say, warn
        self._described = folder / "described"
        self._spools = SpoolRoot(folder / "spool")
        polling = {} if poll_seconds is None else {"poll_seconds": poll_seconds}
        self._ways = Ways(bulk_rows, self._take_bulk_job, **polling)
        self._began = clock.now()
        self._bulk_jobs_left: int | None = None
        self._descriptions: dict[str, Description] = {}
        self._before: dict[str, list[dict[str, str]]] = {}
        """Earlier descriptions by table, oldest first."""
        self._all_objects: Sequence[Mapping[str, Any]] | None = None
        self._listing = threading.Lock()
        self._describing = {wanted.table.name: threading.Lock() for wanted in plan}
        self._state = threading.Condition()
        self._waiting: deque[_Task] = deque(_Task(wanted, Spool(self._spools.path)) for wanted in plan)
        self._tasks: dict[Wanted, _Task] = {task.wanted: task for task in self._waiting}
        self._workers: list[threading.Thread] = []
        self._is_closed = False
        self._limits_lock = threading.Lock()
        self._limits_read = False
        self._notes: deque[str] = deque()
        self._noted: set[str] = set()

    @classmethod
    def of(
        cls,
        settings: Settings,
        plan: Sequence[Wanted] = (),
        say: Callable[[str], None] = _log.info,
        warn: Callable[[str], None] = _log.warning,
        kept: int = 0,
    ) -> LiveOrg:
        """The organisation that the settings name. ``kept`` requests are left to another run.

        Raises:
            CredentialsRefused: a secret's file can't be read.
        """
        return cls(
            session_of(settings, kept=kept),
            settings.home / "salesforce",
            lookback=timedelta(minutes=settings.salesforce_lookback_minutes),
            bulk_rows=settings.salesforce_bulk_rows,
            parallel=settings.salesforce_parallel,
            plan=plan,
            say=say,
            warn=warn,
        )

    # -- the source ---------------------------------------------------------------------------------------------

    def changes(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        """The records whose cursor lies in the window or the lookback before it, as they are now, in pages.

        Raises:
            NotReadable: the organisation doesn't let us read this table.
            SourceUnavailable: it can't answer now, or what it returned does not add up.
            CredentialsRefused: it refuses our credentials.
            BudgetReached: the share of its API limit is used.
        """
        return self._pages(Wanted(table, window))

    def snapshot(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        """All records as they are now, in pages. It raises what :meth:`changes` raises."""
        return self._pages(Wanted(table, window, full=True))

    def described(self, table: SalesforceObject) -> Described:
        """What the organisation says of the table's fields. It raises what :meth:`changes` raises."""
        description = self._description(table)
        return description.against_catalogue(self._before[table.name])

    def objects(self) -> Collection[str]:
        """API names of the objects whose records our user may query, settings left out.

        It raises what :meth:`changes` raises.
        """
        return [
            found["name"]
            for found in self._listed()
            if found.get("queryable", True)
            and not found.get("customSetting")
            and not found.get("deprecatedAndHidden")
        ]

    def _listed(self) -> Sequence[Mapping[str, Any]]:
        with self._listing:
            if self._all_objects is None:
                try:
                    self._all_objects = self.session.call("GET", "sobjects", _read_objects)
                except Refused as error:
                    raise SourceUnavailable(f"Salesforce does not list its objects: {error}") from None
            return self._all_objects

    def deletions(self, table: SalesforceObject, window: Window) -> Mapping[str, datetime]:
        """Ids of the records that were deleted in the window or the day before, each with when; {} for the first.

        It raises what :meth:`changes` raises.
        """
        if window.start is None:
            return {}
        self._read_limits()
        description = self._description(table)
        self._wait_for_end(window)
        since = window.start - max(self.lookback, DELETIONS_LOOKBACK)
        return listed_deletions(self.session, description, since, window.end, self._note_once)

    def totals(self, table: SalesforceObject, window: Window) -> Totals:
        """What the organisation counts now of the records whose cursor lies before the window's end.

        It leaves out the lookback, in which records may still show up. In an organisation of several currencies
        sums are of the records in its own: it converts the others.

        Raises:
            NotReadable: it doesn't let us count this table.
            SourceUnavailable, CredentialsRefused, BudgetReached: as :meth:`changes` raises them.
        """
        self._read_limits()
        try:
            return count_totals(
                self.session, self._description(table), window.end - self.lookback, self._note_once
            )
        except Refused as error:
            raise not_readable(table, error) from None

    def known_at(self, window: Window) -> datetime:
        """The partition boundary that was last passed when this run began; at the earliest the window's end.

        What is read between two boundaries is the knowledge of the first: no record read has a later cursor.
        """
        return max(window.end, boundary(date.fromisoformat(partition_of(self._began))))

    def close(self) -> None:
        """End what is under way and remove all pages."""
        with self._state:
            self._is_closed = True
            for task in self._tasks.values():
                if task.extraction:
                    task.extraction.cancelled = True
            self._state.notify_all()
        for worker in self._workers:
            worker.join()
        self._spools.close()

    def _pages(self, wanted: Wanted) -> Iterator[pl.DataFrame]:
        task = self._result(wanted)
        try:
            if task.error is not None:
                raise task.error
            assert task.extraction is not None
            for page in task.spool.pages():
                page = task.extraction.description.filled(page)
                if wanted.table.deletes is Deletes.SNAPSHOT:
                    page = page.with_columns(pl.lit(False).alias(wanted.table.deletes.value))
                yield page
        finally:
            task.spool.discard()

    # -- extractions, several at once ---------------------------------------------------------------------------

    def _result(self, wanted: Wanted) -> _Task:
        """The extraction, done. It is taken: asked for again, it is made anew."""
        with self._state:
            task = self._tasks.get(wanted)
            if task is None:
                task = self._tasks[wanted] = _Task(wanted, Spool(self._spools.path))
                self._waiting.append(task)
            if task in self._waiting:
                # A query waits for this result now.
                self._waiting.remove(task)
                self._waiting.appendleft(task)
            task.is_taken = True
            self._start_workers()
            self._state.notify_all()
        while not task.done.wait(TELL_SECONDS):
            self._tell(task)
        with self._state:
            del self._tasks[wanted]
            self._state.notify_all()
        self._tell(task)
        return task

    def _start_workers(self) -> None:
        while len(self._workers) < self.parallel:
            worker = threading.Thread(target=self._work, name=f"salesforce-{len(self._workers)}", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._is_closed or self._may_begin())
                if self._is_closed:
                    return
                task = self._waiting.popleft()
            began = time.monotonic()
            try:
                self._extract(task)
            except BaseException as error:
                task.error = error
                task.spool.discard()
            task.seconds = time.monotonic() - began
            task.done.set()

    def _may_begin(self) -> bool:
        if not self._waiting:
            return False
        ahead = sum(task.done.is_set() and not task.is_taken for task in self._tasks.values())
        return self._waiting[0].is_taken or ahead < AHEAD * self.parallel

    def _extract(self, task: _Task) -> None:
        table, window = task.wanted.table, task.wanted.window
        self._read_limits()
        description = self._description(table)
        self._wait_for_end(window)
        task.extraction = Extraction(self.session, description, task.spool, self._ways)
        task.extraction.cancelled = self._is_closed
        task.extraction.run(Span(None, None) if task.wanted.full else Span.of(window, self.lookback))
        if task.extraction.dropped:
            self._descriptions[table.name] = task.extraction.description
            self._notes += _hidden(task.extraction.description, task.extraction.dropped)

    def _wait_for_end(self, window: Window) -> None:
        """Wait until the window is over by the organisation's clock too: it stamps the records."""
        now = self.session.org_time
        if now is None or now >= window.end:
            return
        behind = window.end - now
        if behind > LONGEST_SKEW:
            raise SourceUnavailable(
                f"Salesforce's clock says {now:%Y-%m-%d %H:%M:%S} UTC, and partition {window.key} is over only at "
                f"{window.end:%Y-%m-%d %H:%M} UTC. Set this machine's clock right"
            )
        time.sleep(behind.total_seconds() + 1)

    def _tell(self, task: _Task) -> None:
        """What there is to tell, in the thread that waits: the run's log is not for others."""
        while self._notes:
            self.warn(self._notes.popleft())
        rows, seconds = task.spool.rows, task.seconds
        name = f"{task.wanted.table.qualified_name} {task.wanted.window.key}"
        if not task.done.is_set():
            if task.extraction is not None:
                expected = task.extraction.expected
                self.say(f"{name}: {rows:,} of {expected:,} records, {task.spool.bytes >> 20:,} MiB")
        elif task.error is None and rows >= TOLD_ROWS:
            self.say(f"{name}: {rows:,} records in {seconds:,.1f} s, {rows / max(seconds, 0.001):,.0f} a second")

    def _note_once(self, sentence: str) -> None:
        """Warn in the thread of the step. A sentence that holds for many partitions is logged once a run."""
        if sentence not in self._noted:
            self._noted.add(sentence)
            self.warn(sentence)

    # -- descriptions and limits --------------------------------------------------------------------------------

    def _description(self, table: SalesforceObject) -> Description:
        with self._state:
            lock = self._describing.setdefault(table.name, threading.Lock())
        with lock:
            if table.name not in self._descriptions:
                self._descriptions[table.name] = self._describe(table)
            return self._descriptions[table.name]

    def _describe(self, table: SalesforceObject) -> Description:
        try:
            answer = self.session.call("GET", f"sobjects/{table.api_name}/describe", read_description)
        except Refused as error:
            if error.code == "NOT_FOUND" and table.api_name not in [found["name"] for found in self._listed()]:
                reason = f"Salesforce lists no object {table.api_name} to our user"
                raise NotReadable(table, reason, is_gone=True) from None
            raise not_readable(table, error) from None
        description = Description.read(table, answer)
        self._notes += _hidden(description, [description.own_cursor, *description.hidden])
        self._keep(table, description)
        return description

    def _keep(self, table: SalesforceObject, description: Description) -> None:
        """Keep a description that differs from the last one, and tell the difference."""
        folder = self._described / table.name
        folder.mkdir(parents=True, exist_ok=True)
        kept = sorted(folder.glob("*.json"))
        earlier = self._before[table.name] = []
        for path in kept:
            with suppress(ValueError):
                earlier.append(json.loads(path.read_text()))
        now = dict(description.types)
        if earlier and earlier[-1] == now:
            return
        if earlier and (changed := "; ".join(drift(earlier[-1], now))):
            since = kept[-1].stem
            self._notes.append(f"{table.qualified_name} changed in the organisation since {since}: {changed}")
        temporary = folder / ".tmp"
        temporary.write_text(json.dumps(now, indent=1, sort_keys=True))
        temporary.replace(folder / f"{self._began.astimezone(UTC):%Y-%m-%dT%H%M%S.%fZ}.json")

    def _read_limits(self) -> None:
        with self._limits_lock:
            if not self._limits_read:
                limits = read_limits(self.session)
                jobs = limits.get("DailyBulkV2QueryJobs")
                if jobs:
                    unused = float(jobs["Max"]) * (1 - self.session.budget.share)
                    self._bulk_jobs_left = int(float(jobs["Remaining"]) - unused)
                self._limits_read = True

    def _take_bulk_job(self) -> bool:
        with self._limits_lock:
            if self._bulk_jobs_left is None:
                return True
            self._bulk_jobs_left -= 1
            return self._bulk_jobs_left >= 0


def _hidden(description: Description, fields: Sequence[str]) -> Iterator[str]:
    """What it means that these fields are hidden, a sentence each."""
    table, cursor = description.table, description.own_cursor
    if description.stand_in and cursor in fields:
        sentence = (
            f"{table.qualified_name}: {cursor} can't be read: {description.stand_in} stands for it as the cursor, "
            f"in {table.cursor}"
        )
        if description.stand_in == CURSORS[-1]:
            sentence += ". A change of a record that was there before shows up with the next full extraction"
        yield sentence
    if null := [field for field in fields if field != cursor]:
        yield (
            f"{table.qualified_name}: {', '.join(null)} can't be read and land as null. The organisation does not "
            f"have these fields of {table.api_name}, or hides them from our user"
        )


def _read_objects(answer: requests.Response) -> list[dict[str, Any]]:
    found = object_with("sobjects")(answer)["sobjects"]
    if not isinstance(found, list) or not all(isinstance(each, dict) and each.get("name") for each in found):
        raise Unsettled("the answer is not a list of objects")
    return found


def _limits_in(answer: requests.Response) -> dict[str, Any]:
    limits = object_with()(answer)
    try:
        for name in ("DailyApiRequests", "DailyBulkV2QueryJobs"):
            if name in limits:
                float(limits[name]["Max"]), float(limits[name]["Remaining"])
    except (KeyError, TypeError, ValueError):
        raise Unsettled("the answer is not a list of limits") from None
    return limits


def read_limits(session: Session) -> dict[str, Any]:
    """The organisation's limits; empty where our user may not see them. The budget takes over their count."""
    try:
        limits = session.call("GET", "limits", _limits_in)
    except Refused:
        return {}
    daily = limits.get("DailyApiRequests")
    if daily and session.budget.used is None:
        session.budget.update(int(daily["Max"]) - int(daily["Remaining"]), int(daily["Max"]))
    return limits


def session_of(settings: Settings, tries: int = TRIES, kept: int = 0) -> Session:
    """A session with the organisation that the settings name. ``kept`` requests are left to another run.

    Raises:
        CredentialsRefused: a secret's file can't be read.
    """
    secret = settings.salesforce_client_secret
    client_secret: str | None
    if secret is not None:
        client_secret = secret.get_secret_value()
    else:
        file = settings.salesforce_client_secret_file
        client_secret = read_secret(file) if file else None
    key_file = settings.salesforce_private_key_file
    assert settings.salesforce_instance_url is not None and settings.salesforce_client_id is not None
    login = Login(
        url=settings.salesforce_instance_url,
        client_id=settings.salesforce_client_id,
        client_secret=client_secret,
        username=settings.salesforce_username,
        private_key=read_secret(key_file) if key_file else None,
        audience=settings.salesforce_audience,
    )
    return Session(
        login,
        settings.salesforce_api_version,
        Budget(settings.salesforce_api_share, kept),
        first_wait=min(1.0, settings.retry_seconds),
        tries=tries,
    )
