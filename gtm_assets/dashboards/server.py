"""Superset as a process of ours on the loopback; its files lie in a folder of the state folder."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from gtm_assets.dashboards.bundle import DashboardsError
from gtm_assets.settings import PROJECT_DIR

FOLDER = PROJECT_DIR / "dashboards"
LOCK = FOLDER / "requirements.lock"
BIN = FOLDER / ".venv" / "bin"
ADMINISTRATOR = "admin"
WORKERS = 2
START_SECONDS = 300.0
_END_SECONDS = 8.0
_LINES = 12


def is_installed() -> bool:
    """Whether Superset's environment is there."""
    return (BIN / "superset").exists()


class Instance:
    """One Superset: its secret, its metadata database, its administrator's password, its cache."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made where it is not there yet.

        Raises:
            DashboardsError: Superset is not installed.
        """
        if not is_installed():
            raise DashboardsError(
                f"Superset is not installed in {BIN.parent}. Install it, in an environment of its own: "
                "make setup-dashboards"
            )
        self.folder = folder
        self._log = folder / "log"

    @property
    def password(self) -> str:
        """The administrator's password."""
        return self._kept("admin_password", lambda: secrets.token_urlsafe(18))

    def prepare(self) -> bool:
        """Make or upgrade the metadata database and the administrator; whether they are new.

        Raises:
            DashboardsError: Superset does not do it.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        mark = self.folder / "prepared"
        # Of the packages and of the settings, which say what roles there are.
        state = sha256(LOCK.read_bytes() + (FOLDER / "superset_config.py").read_bytes()).hexdigest()
        is_new = not mark.exists()
        if not is_new and mark.read_text() == state:
            return False
        self._run("db", "upgrade")
        if is_new:
            name = ("--username", ADMINISTRATOR, "--firstname", "Administrator", "--lastname", "")
            # It asks for the password twice; as an argument, each user of the machine could read it.
            answers = f"{self.password}\n{self.password}\n"
            self._run("fab", "create-admin", *name, "--email", "admin@dashboards.invalid", answers=answers)
        self._run("init")
        mark.write_text(state)
        return is_new

    @contextmanager
    def running(self, port: int) -> Iterator[str]:
        """The server's address while it runs.

        Raises:
            DashboardsError: the port is taken, or the server does not start.
        """
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise DashboardsError(
                    f"port {port} is taken: another program listens there. Take another: make dashboards "
                    f"PORT={port + 1}"
                ) from error
        command = [
            *(str(BIN / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS), "--threads", "4"),
            *("--worker-class", "gthread", "--timeout", "120", "--graceful-timeout", "3", "--preload"),
            *("--no-control-socket", "superset.app:create_app()"),
        ]
        address = f"http://127.0.0.1:{port}"
        with self._log.open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=log,
                # Ctrl-C is ours: we stop it when whoever uses it has ended.
                start_new_session=True,
            )
            try:
                self._wait(process, address)
                yield address
            finally:
                _end(process)

    def _wait(self, process: subprocess.Popen[bytes], address: str) -> None:
        until = time.monotonic() + START_SECONDS
        while not _answers(f"{address}/health"):
            if process.poll() is not None or time.monotonic() > until:
                raise DashboardsError(f"Superset does not start: {self._end_of_log()}. Its log: {self._log}")
            time.sleep(0.2)

    def _run(self, *arguments: str, answers: str = "") -> None:
        done = subprocess.run(
            [str(BIN / "superset"), *arguments],
            cwd=self.folder,
            env=self._environment(),
            input=answers,
            capture_output=True,
            text=True,
            check=False,
            # Without a terminal it reads answers here.
            start_new_session=True,
        )
        self._log.write_text(done.stdout + done.stderr)
        if done.returncode:
            raise DashboardsError(
                f"superset {' '.join(arguments[:2])} failed: {self._end_of_log()}. Its log: {self._log}"
            )

    def _environment(self) -> Mapping[str, str]:
        # None of our own settings, and of Python's, is Superset's.
        kept = {
            n: v for n, v in os.environ.items() if not n.startswith(("GTM_", "DAGSTER_", "PYTHON", "VIRTUAL_"))
        }
        secret = os.environ.get("SUPERSET_SECRET_KEY") or self._kept("secret", lambda: secrets.token_urlsafe(48))
        return {
            **kept,
            "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}",
            "FLASK_APP": "superset.app:create_app()",
            "SUPERSET_CONFIG_PATH": str(FOLDER / "superset_config.py"),
            "SUPERSET_HOME": str(self.folder),
            "SUPERSET_SECRET_KEY": secret,
            "SCARF_ANALYTICS": "false",
            # Days are shown as what is published has them; DuckDB shows moments in the zone of its process.
            "TZ": "UTC",
        }

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        """A secret in a file that we alone can read, made once."""
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(0o600)
            path.write_text(make())
        return path.read_text()

    def _end_of_log(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return " ".join(line.strip() for line in lines[-_LINES:])[-600:] or "it says nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, without waiting for browsers that keep a connection open."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        # It began a session of its own, so that its workers are of its group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    # A proxy of the machine's is for other machines.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
