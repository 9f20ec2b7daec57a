"""The address of a PostgreSQL database, and how it reaches dbt."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from gtm_assets.engines.engine import EngineError

_SCHEMES = ("postgresql", "postgres")


class AddressError(EngineError):
    """The address of a PostgreSQL database is none."""


def dbt_environment(address: str) -> dict[str, str]:
    """What dbt's profile asks for, by ``postgresql://user:password@host:port/database``.

    Raises:
        AddressError: it names no host, user or database. The message holds no password.
    """
    parts = urlsplit(address)
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in _SCHEMES or not (parts.hostname and parts.username and database):
        raise AddressError(
            "GTM_WAREHOUSE_URL is not the address of a PostgreSQL database: write "
            "postgresql://user:password@host:5432/database, with %40 for an @ in the password"
        )
    return {
        "GTM_ENGINE": "postgres",
        "GTM_POSTGRES_HOST": parts.hostname,
        "GTM_POSTGRES_PORT": str(parts.port or 5432),
        "GTM_POSTGRES_USER": unquote(parts.username),
        "DBT_ENV_SECRET_POSTGRES_PASSWORD": unquote(parts.password or ""),
        "GTM_POSTGRES_DATABASE": database,
        # The driver's own variable. What a model makes with windows is far larger than PostgreSQL expects, and a
        # nested loop over it takes hours where a hash takes seconds.
        "PGOPTIONS": f"{os.environ.get('PGOPTIONS', '')} -c enable_nestloop=off".strip(),
    }


def place_of(address: str) -> str:
    """An address for people, without user and password."""
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port or 5432}{unquote(parts.path)}"
