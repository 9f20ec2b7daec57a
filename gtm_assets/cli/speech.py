"""How the ``gtm`` commands speak: tables, sentences, and errors as a sentence and exit code 1."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gtm_assets.errors import GtmError
from gtm_assets.settings import load_settings

if TYPE_CHECKING:
    from rich.table import Table

console = Console(highlight=False, soft_wrap=True)
problems = Console(highlight=False, soft_wrap=True, stderr=True)


def explained(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the platform's own errors into a sentence and exit code 1; a traceback would bury it."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            return command(*args, **kwargs)
        except GtmError as error:
            problems.print(f"[red]error:[/] {escaped(error)}")
            sys.exit(1)
        except Exception as error:
            # SQLite, DuckDB and Python each say it in their own words, whatever they were writing.
            if not disk_is_full(load_settings().home, str(error)):
                raise
            problems.print(f"[red]error:[/] {escaped(FULL_DISK.format(home=load_settings().home, error=error))}")
            sys.exit(1)

    return wrapper


FULL_DISK = (
    "the disk of {home} is full ({error}). Free space and run again: "
    "what has landed and what is published is whole, and the run goes on where it was."
)


def disk_is_full(folder: Path, *errors: str) -> bool:
    """Whether there is no room for even a small file beside the state folder, or was none for the event log."""
    # SQLite frees the room of what it could not write, so there may be room now. Its files are in the state
    # folder alone.
    if any("database or disk is full" in error for error in errors):
        return True
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free < 1 << 20


def escaped(value: object) -> str:
    """A text in which rich sees no markup."""
    return str(value).replace("[", r"\[")


def whole_texts(*headers: str) -> Table:
    """A table of texts that goes on in the next line where there is no room, and cuts nothing off."""
    from rich.table import Table

    table = Table()
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def wait_for_ctrl_c() -> None:
    """Wait until somebody ends the command. A signal that a library's thread gets is heard when a wait ends."""
    with suppress(KeyboardInterrupt):
        while not threading.Event().wait(1):
            pass
