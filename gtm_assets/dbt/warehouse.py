"""The warehouse, which dbt alone writes, and the lock that whoever opens it holds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from gtm_assets.dbt.process import builder_lock
from gtm_assets.dbt.state import States
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.engines.engine import Engine
from gtm_assets.engines.files import staging_path
from gtm_assets.engines.registry import engine_of
from gtm_assets.errors import GtmError, MayPass
from gtm_assets.settings import Settings


class WarehouseError(GtmError):
    """The warehouse can't be opened. The message says who has it open and what to do."""


class WarehouseBusy(WarehouseError, MayPass):
    """A program outside the platform has the warehouse open."""


class Warehouse:
    """A warehouse and its lock.

    The lock is the operating system's, and beside it that of an engine which several machines reach. No crash
    leaves either behind.
    """

    def __init__(self, path: Path, lock_path: Path, engine: Engine | None = None) -> None:
        """The file at ``path``, which need not exist yet, or the warehouse of an engine whose copy lies there."""
        self.path = path
        self.engine = engine or DuckDB(path)
        self._lock_path = lock_path
        self._holder_path = lock_path.with_suffix(".holder")

    @classmethod
    def of(cls, settings: Settings) -> Warehouse:
        """The warehouse that the settings name."""
        return cls(settings.warehouse_path, settings.warehouse_lock_path, engine_of(settings))

    @contextmanager
    def locked(self, purpose: str, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold the lock. Where another process holds it, ``say`` for whom we wait, and wait.

        Raises:
            WarehouseBusy: a process outside the platform has the file open.
            WarehouseError: the file can't be opened.
            EngineError: the engine can't be asked.
        """
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock_path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"The warehouse is in use by {self._describe_holder()}. Waiting until it is free.")
            lock.acquire()
        try:
            self._holder_path.write_text(
                json.dumps({"pid": os.getpid(), "purpose": purpose, "since": datetime.now(UTC).isoformat()})
            )
            with builder_lock(self.path):
                pass  # The build of a process that was killed has ended, too.
            self._refuse_foreign_holder()
            with self.engine.held(purpose, say):
                yield
        finally:
            self._holder_path.unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def open(self, purpose: str, whole: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection under the lock, for reading. Closed, and the lock released, however the block ends.

        With ``whole`` its file holds all of core and mart, on whichever engine they are built.

        Raises:
            WarehouseError: there is no warehouse yet, or another program has it open.
            EngineError: the engine can't be asked.
        """
        if not self.engine.exists():
            raise WarehouseError(f"there is no warehouse at {self.engine.place} yet. Build it: gtm run")
        with (
            self.locked(purpose),
            self.engine.reading(States(self.engine).contents_of_tables, whole) as connection,
        ):
            yield connection

    def holder(self) -> str | None:
        """Who holds the lock, in words; None where it is free."""
        if not self._lock_path.exists():
            return None
        lock = FileLock(self._lock_path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return self._describe_holder()
        lock.release()
        return None

    def _describe_holder(self) -> str:
        try:
            holder = json.loads(self._holder_path.read_text())
        except (OSError, ValueError):
            return "another process"
        return f"process {holder['pid']} ({holder['purpose']}, since {holder['since'][:19]} UTC)"

    def _refuse_foreign_holder(self) -> None:
        """Someone who opened the file without our lock makes every write fail: say so before any work."""
        for path in (self.path, staging_path(self.path)):
            if not path.exists():
                continue
            try:
                duckdb.connect(str(path)).close()
            except duckdb.IOException as error:
                kind = WarehouseBusy if _HOLDER.search(str(error)) else WarehouseError
                raise kind(explain_io_error(path, str(error))) from error


_HOLDER = re.compile(r"held in (?P<program>\S+) \(PID (?P<pid>\d+)\)")


def explain_io_error(path: Path, error: str) -> str:
    """What DuckDB's refusal to open ``path`` means and what to do."""
    held = _HOLDER.search(error)
    if held:
        return (
            f"{path} is open in process {held['pid']} ({held['program']}), which keeps others from writing it. "
            f"Close it there and run again; to look at tables, open the published file instead."
        )
    return (
        f"{path} can't be opened: {error}. If it is damaged, move it away and run: gtm run --full-refresh "
        f"(the lake holds everything that it was built from)"
    )
