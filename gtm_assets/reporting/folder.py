"""The folder of pages: a reader sees all of the last report or all of the new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gtm_assets.runtime.linked_folder import replaced

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
    with replaced(folder, digest[:12]) as new:
        for name, content in {**files, DIGEST: digest}.items():
            (new / name).write_bytes(content.encode() if isinstance(content, str) else content)
