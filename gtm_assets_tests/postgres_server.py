"""A PostgreSQL server of the tests' own, on the loopback, in a folder that goes with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from gtm_assets.serving import private_server
from gtm_assets.serving.private_server import programs
from gtm_assets_tests.needs import needs


def missing() -> str | None:
    """What is missing for tests with PostgreSQL, as a reason to skip them."""
    if programs() is None:
        return "PostgreSQL is not installed"
    if find_spec("adbc_driver_postgresql") is None or find_spec("dbt.adapters.postgres") is None:
        return "the extra postgres is not installed: make setup-postgres"
    return None


def missing_audit() -> str | None:
    """What is missing for tests of what a server logs, as a reason to skip them."""
    if lack := missing():
        return lack
    folder = programs()
    assert folder is not None
    libraries = private_server.installed_libraries(folder)
    if {"pgaudit", "pg_stat_statements"} <= {*libraries}:
        return None
    return "pgaudit or pg_stat_statements is not installed (Debian: postgresql-<version>-pgaudit)"


needs_postgres = needs(missing())
needs_audit = needs(missing_audit())


@contextmanager
def running(auth: str = "trust", **options: str) -> Iterator[str]:
    """The address of a server that runs meanwhile, with an empty database. ``options`` are its settings.

    By default it asks for no password.
    """
    folder = Path(tempfile.mkdtemp(prefix="gtm-postgres-"))
    folder.chmod(0o755)
    try:
        with private_server.running(folder / "server", options={"fsync": "off", **options}, auth=auth) as address:
            yield address
    finally:
        shutil.rmtree(folder)


@contextmanager
def database(server: str) -> Iterator[str]:
    """The address of an empty database of a server, which goes again."""
    from adbc_driver_postgresql import dbapi

    name = f"test_{uuid4().hex}"
    with dbapi.connect(server, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
        yield f"{server.rpartition('/')[0]}/{name}"
        cursor.execute(f"drop database {name} with (force)")
