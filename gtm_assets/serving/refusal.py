"""The roles that are refused for the rest of a month, as their budget of query time is used up.

While a role is refused nobody is its member on the server, so that open sessions have lost its rights too; whoever
has no other role may not come in. It is written in ``gtm_access.refused_role``, which ``gtm access apply`` and the
check of what the server gives read: what is refused stays so until the month ends or an administrator lifts it.
"""

from __future__ import annotations

from datetime import datetime

from adbc_driver_postgresql import dbapi

from gtm_assets.engines.files import literal
from gtm_assets.serving.securing import Names


class Refusals:
    """What is refused, within a transaction. Months are of UTC."""

    def __init__(self, cursor: dbapi.Cursor, names: Names) -> None:
        """``cursor`` is of a login that publishes or administers."""
        self._cursor, self._table = cursor, f"{names.access}.refused_role"

    def in_force(self) -> set[str]:
        """The roles that are refused, by their names in the access file."""
        if not self._is_there():
            return set()
        self._cursor.execute(f"select distinct cast(role as text) from {self._table} where lifted_at is null")
        return {role for (role,) in self._cursor.fetchall()}

    def decided(self, now: datetime) -> set[str]:
        """The roles that were refused in this month, also those of which it was lifted."""
        if not self._is_there():
            return set()
        self._cursor.execute(f"select cast(role as text) from {self._table} where month = {_month(now)}")
        return {role for (role,) in self._cursor.fetchall()}

    def refuse(self, role: str, now: datetime) -> None:
        """Refuse a role for the rest of the month, unless that was decided before."""
        self._cursor.execute(
            f"insert into {self._table} (role, month, refused_at) values"
            f" ({literal(role)}, {_month(now)}, {literal(now.isoformat())}) on conflict do nothing"
        )

    def lift(self, role: str, now: datetime, by: str) -> None:
        """Let a role in again. It is not refused again in this month."""
        self._end(f"role = {literal(role)}", now, by)

    def end_those_of_earlier_months(self, now: datetime) -> bool:
        """Let in again who was refused in an earlier month. Returns whether anybody was."""
        if not self._is_there():
            return False
        return self._end(f"month < {_month(now)}", now, "the month ended") > 0

    def _end(self, which: str, now: datetime, by: str) -> int:
        self._cursor.execute(
            f"with ended as (update {self._table}"
            f" set lifted_at = {literal(now.isoformat())}, lifted_by = {literal(by)}"
            f" where {which} and lifted_at is null returning 1) select count(*) from ended"
        )
        [(count,)] = self._cursor.fetchall()
        return int(count)

    def _is_there(self) -> bool:
        self._cursor.execute(f"select to_regclass({literal(self._table)}) is not null")
        [(there,)] = self._cursor.fetchall()
        return bool(there)


def _month(now: datetime) -> str:
    return f"date '{now:%Y-%m}-01'"
