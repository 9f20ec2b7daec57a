"""Incidents and the messages about them: what is remembered between looks, in ``GTM_HOME/incidents.sqlite``.

An incident and its messages are written in one transaction; messages are sent afterwards and marked one by one.
A process that dies between sending and marking sends that one message again; none is lost. Only one process at a
time looks and sends: it holds the lock file beside the database, which no crash can leave behind.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from gtm_assets.automation.alerts.channels import Message
from gtm_assets.automation.alerts.matrix import Event, Severity
from gtm_assets.errors import GtmError

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
GIVEN_UP_AFTER = timedelta(days=3)
KEPT = timedelta(days=90)
"""Resolved incidents and sent messages stay in the file this long."""

_TABLES = """
create table if not exists incident (
    id integer primary key,
    event text not null,
    severity text not null,
    title text not null,
    detail text not null,
    blocks text not null,
    link text not null,
    since text not null,
    opened_at text not null,
    tellings integer not null,
    told_at text not null,
    resolved_at text
);
create table if not exists member (
    incident_id integer not null references incident,
    key text not null,
    primary key (incident_id, key)
);
create table if not exists message (
    id integer primary key,
    incident_id integer references incident,
    channel text not null,
    kind text not null,
    severity text,
    title text not null,
    body text not null,
    created_at text not null,
    due_at text not null,
    attempts integer not null default 0,
    error text,
    sent_at text,
    given_up_at text
);
create table if not exists summary (
    channel text not null,
    day text not null,
    primary key (channel, day)
);
"""


class Busy(GtmError):
    """Another process holds the incidents."""


@dataclass(frozen=True)
class Incident:
    """One thing that went wrong and is told once. Its members are the keys of the conditions that make it up."""

    event: Event
    severity: Severity
    title: str
    detail: str
    blocks: str
    """A sentence."""
    link: str
    """Path in the UI."""
    since: datetime
    members: frozenset[str]
    opened_at: datetime
    tellings: int = 0
    """How often it was told; the next step of the matrix."""
    told_at: datetime | None = None
    resolved_at: datetime | None = None
    id: int = 0
    """0 until it is written."""


@dataclass(frozen=True)
class Pending:
    """A message that waits for its channel."""

    id: int
    channel: str
    message: Message
    created_at: datetime
    attempts: int


class Incidents:
    """The incidents of one state folder."""

    def __init__(self, path: Path) -> None:
        """``path`` is made where it is not there yet."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def held(self, wait_seconds: float) -> Iterator[None]:
        """Keep other processes from looking and sending.

        Raises:
            Busy: another process does, for longer than ``wait_seconds``.
        """
        try:
            with FileLock(self.path.with_suffix(".lock"), timeout=wait_seconds):
                yield
        except Timeout:
            raise Busy(f"another process holds {self.path}") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written within it, or nothing."""
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    # -- incidents ---------------------------------------------------------------------------------------------

    def unresolved(self) -> list[Incident]:
        """Those that are open, oldest first."""
        return [
            self._incident(row)
            for row in self._connection.execute("select * from incident where resolved_at is null order by id")
        ]

    def add(self, incident: Incident) -> int:
        """Write a new incident. Returns its id."""
        cursor = self._connection.execute(
            "insert into incident"
            " (event, severity, title, detail, blocks, link, since, opened_at, tellings, told_at)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            [
                *(incident.event, incident.severity, incident.title, incident.detail),
                *(json.dumps(incident.blocks), incident.link, _text(incident.since)),
                *(_text(incident.opened_at), _text(incident.opened_at)),
            ],
        )
        number = int(cursor.lastrowid or 0)
        self.join(number, incident.members)
        return number

    def join(self, incident_id: int, keys: Iterable[str]) -> None:
        """Make conditions part of an incident."""
        self._connection.executemany(
            "insert or ignore into member values (?, ?)", [(incident_id, key) for key in sorted(keys)]
        )

    def worsen(self, incident_id: int, severity: Severity, title: str, detail: str, link: str) -> None:
        """Write that an incident is more severe, and what it looks like now. It is told from the first step on."""
        self._connection.execute(
            "update incident set severity = ?, title = ?, detail = ?, link = ?, tellings = 0 where id = ?",
            [severity, title, detail, link, incident_id],
        )

    def notified(self, incident_id: int, now: datetime) -> None:
        """Write that one more step was told."""
        self._connection.execute(
            "update incident set tellings = tellings + 1, told_at = ? where id = ?", [_text(now), incident_id]
        )

    def resolve(self, incident_id: int, now: datetime) -> None:
        """Write that an incident is over."""
        self._connection.execute("update incident set resolved_at = ? where id = ?", [_text(now), incident_id])

    def _incident(self, row: sqlite3.Row) -> Incident:
        members = self._connection.execute("select key from member where incident_id = ?", [row["id"]])
        return Incident(
            event=Event(row["event"]),
            severity=Severity(row["severity"]),
            title=row["title"],
            detail=row["detail"],
            blocks=json.loads(row["blocks"]),
            link=row["link"],
            since=_time(row["since"]),
            members=frozenset(member["key"] for member in members),
            opened_at=_time(row["opened_at"]),
            tellings=row["tellings"],
            told_at=_time(row["told_at"]),
            resolved_at=_time(row["resolved_at"]) if row["resolved_at"] else None,
            id=row["id"],
        )

    # -- messages ----------------------------------------------------------------------------------------------

    def enqueue(
        self, channels: Sequence[str], message: Message, now: datetime, incident_id: int | None = None
    ) -> None:
        """Write a message that is to be sent to each channel."""
        self._connection.executemany(
            "insert into message (incident_id, channel, kind, severity, title, body, created_at, due_at)"
            " values (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(incident_id, channel, message.kind, message.severity, message.title, message.body),
                    *(_text(now), _text(now)),
                )
                for channel in channels
            ],
        )

    def channels_notified(self, incident_id: int) -> list[str]:
        """The channels that were, or still are to be, told of an incident, first told first."""
        rows = self._connection.execute(
            "select channel from message where incident_id = ? group by channel order by min(id)", [incident_id]
        )
        return [row["channel"] for row in rows]

    def due(self, now: datetime) -> list[Pending]:
        """Messages to be sent now, oldest first; of an incident and channel only the oldest that waits."""
        rows = self._connection.execute(
            "select * from message as m where sent_at is null and given_up_at is null and due_at <= ?"
            " and not exists (select 1 from message as earlier where earlier.incident_id = m.incident_id"
            " and earlier.channel = m.channel and earlier.id < m.id"
            " and earlier.sent_at is null and earlier.given_up_at is null) order by id",
            [_text(now)],
        )
        return [
            Pending(
                row["id"],
                row["channel"],
                Message(
                    row["title"],
                    row["body"],
                    row["kind"],
                    Severity(row["severity"]) if row["severity"] else None,
                ),
                _time(row["created_at"]),
                row["attempts"],
            )
            for row in rows
        ]

    def waiting(self) -> int:
        """How many messages are still to be sent."""
        (count,) = self._connection.execute(
            "select count(*) from message where sent_at is null and given_up_at is null"
        ).fetchone()
        return int(count)

    def sent(self, message_id: int, now: datetime) -> None:
        """Write that a message has reached its channel."""
        self._connection.execute(
            "update message set sent_at = ?, attempts = attempts + 1, error = null where id = ?",
            [_text(now), message_id],
        )

    def failed(self, pending: Pending, now: datetime, error: str) -> bool:
        """Write that a message did not arrive, and when it is tried again. Returns False where it is given up."""
        given_up = now - pending.created_at >= GIVEN_UP_AFTER
        pause = min(FIRST_RETRY * 2 ** min(pending.attempts, 10), LONGEST_RETRY)
        self._connection.execute(
            "update message set attempts = attempts + 1, error = ?, due_at = ?, given_up_at = ? where id = ?",
            [error, _text(now + pause), _text(now) if given_up else None, pending.id],
        )
        return not given_up

    # -- once a day --------------------------------------------------------------------------------------------

    def first_summary(self, channel: str, day: str) -> bool:
        """True the first time it is asked for a channel and day."""
        return (
            self._connection.execute("insert or ignore into summary values (?, ?)", [channel, day]).rowcount == 1
        )

    def forget_old(self, now: datetime) -> None:
        """Remove what was over long ago."""
        before = _text(now - KEPT)
        old = "select id from incident where resolved_at < ?"
        self._connection.execute(f"delete from message where incident_id in ({old})", [before])
        self._connection.execute(f"delete from member where incident_id in ({old})", [before])
        self._connection.execute("delete from incident where resolved_at < ?", [before])
        self._connection.execute("delete from message where incident_id is null and created_at < ?", [before])
        self._connection.execute("delete from summary where day < ?", [before[:10]])


def _text(instant: datetime) -> str:
    # All times have one format, so that their texts sort as they do.
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
