"""A PostgreSQL server of one's own, on the loopback, which runs while it is asked for; its files lie in a folder.

Its programs are those of the machine (Debian's package ``postgresql``).
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gtm_assets.errors import GtmError

USER = "gtm"
DATABASE = "gtm"
PROGRAMS = ("initdb", "postgres", "pg_isready", "createdb")
_PLACES = ("usr/lib/postgresql/*/bin", "usr/local/bin", "opt/homebrew/bin", "usr/local/opt/postgresql*/bin")
_SYSTEM_USER = "postgres"
"""As whom the server runs where we are root, whom it refuses; Debian's package has made this user."""
START_SECONDS = 60.0
_LIBRARIES = {
    "pgaudit": {
        "logging_collector": "on",
        "log_destination": "stderr,csvlog",
        # A file of last week's day is begun anew.
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_size": "0",
        "log_duration": "on",
        "log_lock_waits": "on",
    },
    "pg_stat_statements": {},
}
"""Libraries that log who reads what and count what that costs, and the settings that go with each."""


class ServerError(GtmError):
    """The server can't be started. The message says why and what to do."""


def programs() -> Path | None:
    """The folder of the newest server's programs; None where there is none."""
    folders = [folder for place in _PLACES for folder in sorted(Path("/").glob(place), reverse=True)]
    named = [Path(path).parent for path in filter(None, [shutil.which("initdb")])]
    return next((f for f in [*named, *folders] if all((f / name).exists() for name in PROGRAMS)), None)


@contextmanager
def running(
    folder: Path,
    port: int | None = None,
    options: Mapping[str, str] | None = None,
    auth: str = "scram-sha-256",
) -> Iterator[str]:
    """The address of a server that runs meanwhile; ``folder`` is made where it is not there yet.

    ``options`` are settings of the server, beside those by which it logs who reads what and counts what that
    costs, where the libraries for it are installed. By default it takes any free port. With ``auth`` *trust* it
    asks for no password, and the address has none.

    Raises:
        ServerError: PostgreSQL is not installed, or does not start.
    """
    server = _Server(folder, port or _free_port(), auth)
    server.make()
    with server.started(options or {}):
        server.make_database()
        yield server.address(DATABASE)


class _Server:
    def __init__(self, folder: Path, port: int, auth: str) -> None:
        found = programs()
        if found is None:
            raise ServerError(
                "PostgreSQL is not installed: its programs are in none of the usual places. Install it (Debian: "
                "apt install postgresql), or name the address of a server in GTM_SERVE_URL"
            )
        self._bin, self._folder, self._port, self._auth = found, folder, port, auth
        self._own: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            self._own |= {"user": _SYSTEM_USER, "group": _SYSTEM_USER}
        self._log, self._password_file = folder / "log", folder / "password"

    def address(self, database: str) -> str:
        password = "" if self._auth == "trust" else f":{self._password_file.read_text()}"
        return f"postgresql://{USER}{password}@127.0.0.1:{self._port}/{database}"

    def make(self) -> None:
        """Make the database's files, with a password that only we can read."""
        if (self._folder / "data" / "PG_VERSION").exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._password_file.touch(0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:
            for path in (self._folder, self._password_file):
                shutil.chown(path, _SYSTEM_USER, _SYSTEM_USER)
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        self._run(
            "initdb",
            *("--pgdata", str(self._folder / "data"), "--username", USER, "--pwfile", str(self._password_file)),
            *("--auth", self._auth, "--encoding", "UTF8", "--locale", "C.UTF-8"),
        )

    @contextmanager
    def started(self, options: Mapping[str, str]) -> Iterator[None]:
        own = {"port": self._port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        libraries = installed_libraries(self._bin)
        for library in libraries:
            own |= _LIBRARIES[library]
        given = {**own, "shared_preload_libraries": ",".join(libraries), **options}
        command = [str(self._bin / "postgres"), "-D", str(self._folder / "data")]
        with self._log.open("w") as log:
            process = subprocess.Popen(
                [*command, *(f"--{name}={value}" for name, value in given.items())],
                stdout=log,
                stderr=log,
                # Ctrl-C is ours: we stop it when whoever uses it has ended.
                start_new_session=True,
                **self._own,
            )
            try:
                self._wait(process)
                yield
            finally:
                # A fast shutdown, which does not wait for sessions: PostgreSQL's documentation, Shutting Down.
                process.send_signal(signal.SIGINT)
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_SECONDS
        ready = [str(self._bin / "pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(self._port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > until:
                raise ServerError(
                    f"PostgreSQL in {self._folder} does not start: {_end_of(self._said())}. "
                    "Mend what it says, or remove the folder to begin anew"
                )
            time.sleep(0.05)

    def _said(self) -> str:
        """What the server said last, by itself or to its collector."""
        logs = sorted((self._folder / "data" / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return self._log.read_text() + "".join(path.read_text() for path in logs[-1:])

    def make_database(self) -> None:
        where = ["--host", "127.0.0.1", "--port", str(self._port), "--username", USER]
        command = [str(self._bin / "createdb"), *where, "--maintenance-db", "postgres", DATABASE]
        environment = {**os.environ, "LC_ALL": "C", "PGPASSWORD": self._password_file.read_text()}
        made = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if made.returncode and "already exists" not in made.stderr:
            raise ServerError(f"PostgreSQL in {self._folder} makes no database: {_end_of(made.stderr)}")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments], check=False, capture_output=True, text=True, **self._own
        )
        if done.returncode:
            raise ServerError(f"{program} failed in {self._folder}: {_end_of(done.stderr)}")


def installed_libraries(programs: Path) -> list[str]:
    """Those of the libraries that are installed with a server's programs."""
    folders = [programs.parent / "lib", programs.parent / "lib" / "postgresql"]
    return [
        name
        for name in _LIBRARIES
        if any((folder / f"{name}{end}").exists() for folder in folders for end in (".so", ".dylib"))
    ]


def _end_of(text: str) -> str:
    """The last lines of what a program said, in one."""
    return " ".join(text.split("\n")[-4:]).strip()


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
