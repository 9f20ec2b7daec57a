"""How old the credentials of logins are, and how old they may become."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import dagster as dg
from adbc_driver_postgresql import dbapi

from gtm_assets.finding import Finding
from gtm_assets.serving.access_file import Access, Kind
from gtm_assets.serving.securing import Names
from gtm_assets.settings import Settings


def days_allowed(settings: Settings) -> dict[Kind, int]:
    """Days after which a credential is to be replaced, by the kind of its login."""
    return {
        "person": settings.credential_days,
        "service": settings.credential_days,
        "embedding": settings.embedding_credential_days,
        "key": settings.key_days,
    }


def credentials_are_rotated(
    cursor: dbapi.Cursor, names: Names, access: Access, allowed: Mapping[Kind, int], now: datetime
) -> Finding:
    """Whether each login's credential is younger than those of its kind may become.

    A login has none from us before ``gtm access rotate`` has given it one.
    """
    cursor.execute(f"select cast(login as text), rotated_at from {names.access}.credential order by rotated_at")
    ages = {login: (now - at).days for login, at in cursor.fetchall() if login in access.people}
    kinds = {login: access.people[login].kind for login in ages}
    old = [login for login, days in ages.items() if days >= allowed[kinds[login]]]
    if not old:
        return Finding(True, f"{len(ages):,} credentials are younger than those of their kind may become.")
    named = ", ".join(f"{one} ({kinds[one]}: {ages[one]} days, {allowed[kinds[one]]} are allowed)" for one in old)
    return Finding(
        False,
        f"{len(old):,} of {len(ages):,} credentials are old: {named}. Give each another: gtm access rotate "
        f"{old[0]}",
        dg.AssetCheckSeverity.WARN,
    )
