"""A PostgreSQL server of the tests' own, on the loopback, in a folder that goes with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gtm_assets_tests.browser import free_port

USER = "gtm"
_PROGRAMS = ("initdb", "postgres", "pg_isready", "createdb")
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/local/opt/postgresql*/bin")


def programs() -> Path | None:
    """A folder with all of the server's programs; None where none is found."""
    folders = [folder for place in _PLACES for folder in sorted(Path("/").glob(place[1:]))]
    named = [Path(path).parent for path in filter(None, [shutil.which("initdb")])]
    return next((f for f in [*named, *folders] if all((f / name).exists() for name in _PROGRAMS)), None)


def missing() -> str | None:
    """What is missing for tests with PostgreSQL, as a reason to skip them."""
    if programs() is None:
        return "PostgreSQL is not installed"
    if find_spec("adbc_driver_postgresql") is None or find_spec("dbt.adapters.postgres") is None:
        return "the extra postgres is not installed: make setup-postgres"
    return None


needs_postgres = pytest.mark.skipif(
    # In CI it has to be there.
    bool(missing()) and not os.environ.get("CI"),
    reason=missing() or "",
)


@contextmanager
def running(**more_options: str) -> Iterator[str]:
    """The address of a server that runs meanwhile, with an empty database; no password is asked for.

    ``more_options`` are settings of the server.
    """
    bin_ = programs()
    assert bin_ is not None, missing()
    folder = Path(tempfile.mkdtemp(prefix="gtm-postgres-"))
    port = free_port()
    own: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root; Debian's package has made this user.
        shutil.chown(folder, "postgres", "postgres")
        own |= {"user": "postgres", "group": "postgres"}
    made = [bin_ / "initdb", "--pgdata", folder / "data", "--username", USER, "--auth", "trust"]
    subprocess.run([*made, "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"], check=True, **own)
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
    options |= more_options
    given = [f"--{name}={value}" for name, value in options.items()]
    log = (folder / "log").open("w")
    server = subprocess.Popen([bin_ / "postgres", "-D", folder / "data", *given], stderr=log, **own)
    try:
        ready = [bin_ / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port), "--timeout", "1"]
        for _ in range(100):
            if subprocess.run(ready, check=False).returncode == 0:
                break
            assert server.poll() is None, (folder / "log").read_text()
        address = f"postgresql://{USER}@127.0.0.1:{port}"
        subprocess.run([bin_ / "createdb", "--maintenance-db", f"{address}/postgres", "gtm"], check=True)
        yield f"{address}/gtm"
    finally:
        # Not by SIGTERM, at which it would wait until a test that failed has closed its sessions.
        server.send_signal(signal.SIGINT)
        server.wait()
        log.close()
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
