"""What ``gtm doctor`` tries of an export: its folder and each of its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gtm_assets.errors import SourceUnavailable
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.settings import Settings
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.pipedrive.export import ExportError, ExportFolder, FileMissing, check_origin


def examine(settings: Settings, directory: Path) -> Iterator[tuple[bool, str]]:
    """Findings: whether it is well, and a sentence. Each file is read whole."""
    folder, calendar, lake = ExportFolder(directory), Calendar.of(settings), Lake.of(settings)
    try:
        check_origin(lake, folder.origin)
    except ExportError as error:
        yield False, f"{error}."
    window = calendar.window(calendar.first.isoformat())
    for table in TABLES:
        try:
            found = folder.extract(table, window)
        except (ExportError, SourceUnavailable) as error:
            if isinstance(error, FileMissing) and lake.forgotten(table):
                yield True, f"{table.qualified_name}: {table.api_name} is gone, as its owner has said."
                continue
            yield False, f"{error}."
            if not folder.folder.is_dir():
                return
            continue
        columns = [column.name for column in table.columns if column.api_name]
        lacks = ", ".join(name for name in columns if name not in found.rows.columns)
        yield (
            True,
            f"{table.qualified_name}: {found.rows.height:,} records in {table.api_name} of "
            f"{found.exported_at:%Y-%m-%d %H:%M} UTC; lacks {lacks or 'nothing'}.",
        )
        yield from ((True, note) for note in (found.read_as, *found.notes) if note)
