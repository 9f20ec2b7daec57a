"""The report: all pages of what is published, written where their figures have changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import vl_convert

from gtm_assets.reporting import headline, html, theme
from gtm_assets.reporting.folder import digest_of, put_in_place
from gtm_assets.reporting.html import FOLDER, SCRIPT, Made
from gtm_assets.reporting.names import PICTURE, SENTENCE
from gtm_assets.reporting.page import Page
from gtm_assets.reporting.pages import PAGES
from gtm_assets.reporting.published import Published, open_published
from gtm_assets.reporting.rows import ReportError, plain

_OFFERED = "window.vegaEmbed = vegaEmbed;"
"""What the library offers to a page."""


@dataclass(frozen=True)
class Report:
    """What became of the report."""

    folder: Path
    pages: Sequence[Made]
    rewritten: bool
    """False where no figure has changed since the pages in place were written."""
    seconds: float

    @property
    def figures(self) -> int:
        """Tiles, charts and tables of all pages."""
        return sum(page.figures for page in self.pages)


def write_report(published_path: Path, folder: Path, pages: Sequence[Page] = PAGES) -> Report:
    """Write the pages of the published file into ``folder``, where their figures have changed.

    Raises:
        ReportError: nothing is published, a page can't be made, or the folder can't be written; it is as it was.
    """
    started = time.monotonic()
    with open_published(published_path) as published:
        made = [html.made(page, published, pages) for page in pages]
        digest = _digest(published, made)
        rewritten = digest_of(folder) != digest
        files: dict[str, str | bytes] = {f"{page.page.name}.html": page.html for page in made}
        if rewritten:
            files |= {SENTENCE: headline.sentence(published), PICTURE: headline.picture(published)}
            files |= library(folder)
    if rewritten:
        try:
            put_in_place(folder, files, digest)
        except OSError as error:
            raise ReportError(
                f"the report at {folder} was not replaced: {error}. Free space, or let the folder be written, and "
                "run: gtm run"
            ) from error
    return Report(folder, made, rewritten, time.monotonic() - started)


def library(folder: Path) -> dict[str, str]:
    """Vega, Vega-Lite and Vega-Embed as one script, with nothing to fetch: as it lies there, or else put together.

    That takes seconds. Each release of the library has a name of its own.
    """
    known = folder / SCRIPT
    return {SCRIPT: known.read_text() if known.exists() else vl_convert.javascript_bundle(_OFFERED)}


def _digest(published: Published, made: Sequence[Made]) -> str:
    """A digest of what pages are made of: their rows, the day that they count as today, and our code."""
    about = published.about
    parts: list[object] = [
        about.as_of.isoformat(),
        about.checks_passed,
        about.checks_warned,
        SCRIPT,
    ]
    for page in made:
        parts.append(page.page.name)
        for name, rows in sorted(page.rows.items()):
            if rows.written_anew:
                kinds = [column.kind for column in rows.columns]
                values = [[plain(v, kind) for v, kind in zip(row, kinds, strict=True)] for row in rows.values]
                parts += [name, values]
    parts += [
        path.read_text() for path in sorted(FOLDER.glob("*.*")) if path.suffix in (".py", ".html", ".css", ".js")
    ]
    parts.append(theme.FONT)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
