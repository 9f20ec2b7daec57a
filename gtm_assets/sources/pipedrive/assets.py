"""The raw assets: one per file of a Pipedrive export, each landed by one op, one daily partition at a time.

An export has no window. What of it the lake does not have lands in the partition that is being run.
"""

from collections.abc import Collection

import dagster as dg

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import ExportInfo
from gtm_assets.partitions import Window
from gtm_assets.sources import raw_asset as raw
from gtm_assets.sources.pipedrive.export import Export, Extract, FileMissing, claim_origin, extracted


class PipedriveExtraction(raw.TableExtraction):
    """How one op lands a file of an export."""

    resource = "pipedrive"

    def __init__(self, task: raw.Task, export: Export) -> None:
        """The extraction of the task's table from ``export``.

        Raises:
            ExportError: the lake holds the tables of another export.
        """
        self._task, self._export = task, export
        claim_origin(task.lake, export.origin)
        self._landed_last: str | None = None

    def land(self, window: Window) -> Landing:
        """Land what is new in the file, or nothing where this op has landed this very file already."""
        task, known_at = self._task, self._export.known_at(window)
        try:
            found = self._export.extract(task.table, window)
        except FileMissing as error:
            if not task.lake.forgotten(task.table):
                raise
            return task.lake.land_unreadable(task.table, window, str(error), known_at)
        if found.fingerprint == self._landed_last:
            # The same file has just landed in the partition before, and nothing in it is new.
            return task.lake.land(task.table, window, [], known_at)
        self._tell(found, window)
        info = ExportInfo(found.exported_at, task.is_full, task.rules.hard_delete_limit)
        landing = task.lake.land_export(task.table, window, [found.rows], known_at, info)
        extracted(task.lake, task.table, found)
        self._landed_last = found.fingerprint
        return landing

    def _tell(self, found: Extract, window: Window) -> None:
        """Say in the run's log and on the partition how the file was read."""
        context = self._task.context
        for note in found.notes:
            context.log.warning(note)
        if found.read_as:
            context.log.info(found.read_as)
        if notes := [text for text in (found.read_as, *found.notes) if text]:
            context.add_asset_metadata({"file": dg.MetadataValue.md("\n\n".join(notes))}, partition_key=window.key)


def raw_asset(table: RawTable, read: Collection[str], rules: raw.Rules) -> dg.AssetsDefinition:
    """The raw table of one file. ``read`` are the columns that models read."""
    return raw.raw_asset(table, PipedriveExtraction, read, rules)
