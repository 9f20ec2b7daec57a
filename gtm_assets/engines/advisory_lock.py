"""The lock by which builds of one warehouse wait for each other: of the PostgreSQL database that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gtm_assets.engines.engine import Say
from gtm_assets.engines.files import literal

Ask = Callable[[str], Sequence[Any]]
"""Executes a statement on a session that stays, outside of a transaction, and gives the rows."""


def take_lock(ask: Ask, name: str, say: Say) -> None:
    """Take the lock of this name; ``say`` hears for whom we wait.

    The server lets go of it where the session ends, so where this process is killed too.
    """
    key = f"hashtextextended({literal(name)}, 0)"
    [(got,)] = ask(f"select pg_try_advisory_lock({key})")
    if not got:
        say(f"The warehouse is in use by {_holder(ask, key)}. Waiting until it is free.")
        ask(f"select cast(pg_advisory_lock({key}) as text)")


def _holder(ask: Ask, key: str) -> str:
    """Who holds the lock, in words: what sessions say of themselves as application_name.

    Source: PostgreSQL's documentation, pg_locks: a key of 64 bits is shown as two of 32.
    """
    rows = ask(
        "select application_name, coalesce(host(client_addr), 'this machine'),"
        " to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI')"
        " from pg_locks inner join pg_stat_activity using (pid) where locktype = 'advisory' and granted"
        f" and (cast(classid as bigint) << 32) + cast(objid as bigint) = {key}"
    )
    return " and ".join(f"{name or 'a session'} from {host}, since {since} UTC" for name, host, since in rows) or (
        "another session"
    )
