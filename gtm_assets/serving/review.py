"""The quarterly review: what each login may read, what it did read, what it never used, and who signed it off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gtm_assets import clock
from gtm_assets.engines.files import literal
from gtm_assets.serving import audit_log, query_costs
from gtm_assets.serving.access import Enforcer
from gtm_assets.serving.access_file import AccessError, Right
from gtm_assets.serving.row_rules import READ_BY_PEOPLE
from gtm_assets.serving.securing import Names


@dataclass(frozen=True)
class Review:
    """A quarter's review."""

    quarter: str
    text: str
    path: Path


@dataclass(frozen=True)
class _Use:
    """What a login did in the quarter, as far as the server logged and counted it."""

    last_read: Mapping[str, datetime]
    last_query: Mapping[str, datetime]
    layers: Mapping[str, set[str]]
    """The layers of which it read personal or financial data."""


class Reviewing:
    """Writes the review of a server, and records who signed it off."""

    def __init__(self, enforcer: Enforcer, prefix: str) -> None:
        """``prefix`` begins the names of schemas."""
        self._enforcer, self._names = enforcer, Names(prefix)

    def write(self, folder: Path) -> Review:
        """Write the review of this quarter, up to now, into a file.

        Raises:
            AccessError: no access file is in force.
        """
        if not self._enforcer.is_in_force:
            raise AccessError(
                "there is nothing to review: no access file is in force. Enforce it: gtm access apply"
            )
        now = clock.now()
        first = datetime(now.year, 3 * ((now.month - 1) // 3) + 1, 1, tzinfo=UTC)
        quarter = f"{now.year}-Q{(now.month - 1) // 3 + 1}"
        text = "\n".join(self._lines(quarter, first, now)) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"access-{quarter}.md"
        path.write_text(text)
        return Review(quarter, text, path)

    def sign(self, review: Review, by: str, remark: str) -> None:
        """Record on the server, and in the file, that somebody has signed a review off."""
        now, digest = clock.now(), hashlib.sha256(review.text.encode()).hexdigest()
        if not by.strip():
            raise AccessError("a review is signed off by somebody: give a name")
        values = (review.quarter, now.isoformat(), by, remark, digest, review.text)
        with self._enforcer.server.transaction("gtm: review") as cursor:
            audit_log.make_tables(cursor, self._names)
            cursor.execute(
                f"insert into {self._names.audit}.access_review"
                " (quarter, signed_at, signed_by, remark, digest, review)"
                f" values ({', '.join(map(literal, values))})"
            )
        noted = f" {remark}" if remark else ""
        with review.path.open("a") as file:
            file.write(f"\nSigned off by {by} on {now:%Y-%m-%d %H:%M} UTC.{noted}\n")

    def _lines(self, quarter: str, first: datetime, now: datetime) -> Iterator[str]:
        access, use = self._enforcer.access, self._use(first)
        yield f"# Who may read what: {quarter}"
        yield ""
        yield f"Of {self._enforcer.server.place}, {first:%Y-%m-%d} to {now:%Y-%m-%d %H:%M} UTC."
        yield "Read: of personal or financial data, as the server logged it. Query: any, as the server counted it."
        yield ""
        yield "| login | kind | roles | rows | last read | last query | never used |"
        yield "|---|---|---|---|---|---|---|"
        for login, person in access.people.items():
            rows = " ".join([person.scope, *person.regions])
            never = ", ".join(self._never_used(login, person.roles, use)) or "-"
            last = [_day(when.get(login)) for when in (use.last_read, use.last_query)]
            cells = [login, person.kind, ", ".join(person.roles), rows, *last, never]
            yield f"| {' | '.join(cells)} |"
        yield ""
        idle = [login for login in access.people if login not in use.last_query and login not in use.last_read]
        unheld = [role for role in access.roles if not access.who_has(role)]
        yield f"Logins that were not used: {', '.join(idle) or 'none'}."
        yield f"Roles that nobody has: {', '.join(unheld) or 'none'}."
        yield f"Roles that are refused now: {', '.join(sorted(self._enforcer.refused())) or 'none'}."
        yield f"The server: {self._enforcer.check().sentence}"
        yield f"The log: {self._enforcer.audited().sentence}"

    def _never_used(self, login: str, roles: Sequence[str], use: _Use) -> Iterator[str]:
        """The layers with views that a login may read and of which it read nothing that is logged."""
        if login not in use.last_query and login not in use.last_read:
            yield "everything"
            return
        for layer in READ_BY_PEOPLE:
            may = any(self._enforcer.access.right(role, layer) is not Right.NONE for role in roles)
            if may and layer not in use.layers.get(login, set()):
                yield layer

    def _use(self, first: datetime) -> _Use:
        audit, meta, since = self._names.audit, self._names.meta, literal(first.isoformat())
        with self._enforcer.server.transaction("gtm: review") as cursor:
            audit_log.make_tables(cursor, self._names)
            query_costs.make_tables(cursor, self._names)
            read = f"from {audit}.data_access where accessed_at >= {since} and outcome not like 'refused:%'"
            cursor.execute(f"select login, max(accessed_at) {read} group by 1")
            last_read = dict(cursor.fetchall())
            cursor.execute(
                "select distinct login, split_part(name, '.', 1)"
                f" from (select login, unnest(objects) as name {read}) as opened"
            )
            layers: dict[str, set[str]] = {}
            for login, schema in cursor.fetchall():
                layers.setdefault(login, set()).add(schema.removeprefix(f"{self._names.prefix}reader_"))
            cursor.execute(
                f"select cast(login as text), cast(max(day) as timestamptz) from {meta}.query_daily"
                f" where day >= cast({since} as timestamptz) group by 1"
            )
            return _Use(last_read, dict(cursor.fetchall()), layers)


def _day(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d}" if when else "never"
