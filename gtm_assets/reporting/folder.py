"""The folder of pages: a reader sees all of the last report or all of the new one.

``published/report`` is a link to a folder beside it, and the link is replaced in one rename. What goes wrong
before leaves the folder that people read as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

DIGEST = "digest"
"""The file of a folder that tells what is in it from what another publication would write."""


def digest_of(folder: Path) -> str:
    """What the pages in place were made of; empty where there are none, or not all of them."""
    try:
        return (folder / DIGEST).read_text() if (folder / "index.html").exists() else ""
    except FileNotFoundError:
        return ""


def put_in_place(folder: Path, files: Mapping[str, str | bytes], digest: str) -> None:
    """Write files into a new folder, and let ``folder`` be it.

    Raises:
        OSError: the disk is full, or the folder can't be written. ``folder`` is as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One that was left by a process that was killed, or is not the one that people read, is in nobody's way.
    new = folder.with_name(f".{folder.name}-{digest[:12]}-{os.getpid()}")
    link = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        for name, content in {**files, DIGEST: digest}.items():
            with (new / name).open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        link.unlink(missing_ok=True)
        link.symlink_to(new.name)
        # A state folder that was copied may hold the pages themselves in the place of the link.
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
