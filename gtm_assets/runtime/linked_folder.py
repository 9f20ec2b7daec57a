"""A folder that people read, whose files are replaced at once: it is a link, which is replaced in one rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(folder: Path, name: str) -> Iterator[Path]:
    """A new folder, to be filled; at the end ``folder`` is a link to it, and what it was before is gone.

    It lies beside ``folder``, under a hidden name with ``name`` in it. Where filling it fails, ``folder`` is as it
    was.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One that was left by a process that was killed, or is not the one that people read, is in nobody's way.
    new = folder.with_name(f".{folder.name}-{name}-{os.getpid()}")
    link = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        yield new
        for path in new.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        link.unlink(missing_ok=True)
        link.symlink_to(new.name)
        # A state folder that was copied may hold the files themselves in the place of the link.
        if folder.is_dir() and not folder.is_symlink():
            folder.rename(folder.with_name(f".{folder.name}-copied-{os.getpid()}"))
        link.replace(folder)
    except BaseException:
        link.unlink(missing_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        raise
    for other in folder.parent.glob(f".{folder.name}-*"):
        if other != new:
            shutil.rmtree(other, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove such a folder, where there is one."""
    folder.unlink(missing_ok=True)
    for other in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(other)
