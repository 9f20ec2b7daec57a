"""The raw assets: one per file of a Pipedrive export, each landed by one op, one daily partition at a time.

An export has no window. What of it the lake does not have lands in the partition that is being run.
"""

from collections.abc import Collection

import dagster as dg

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import ExportInfo, Lake
from gtm_assets.partitions import Window
from gtm_assets.sources.pipedrive.export import Export, FileMissing, claim_origin, extracted
from gtm_assets.sources.raw_asset import ExtractConfig, Rules, as_raw_asset, land_partitions, result_of


def raw_asset(table: RawTable, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
    """The raw table of one file. ``read`` are the columns that models read."""

    @as_raw_asset(table, rules.calendar)
    def ingest(
        context: dg.AssetExecutionContext,
        config: ExtractConfig,
        pipedrive: dg.ResourceParam[Export],
        lake: dg.ResourceParam[Lake],
    ) -> dg.MaterializeResult:
        claim_origin(lake, pipedrive.origin)
        landed_last: str | None = None

        def landed(window: Window) -> Landing:
            nonlocal landed_last
            try:
                found = pipedrive.extract(table, window)
            except FileMissing as error:
                if not lake.forgotten(table):
                    raise
                return lake.land_unreadable(table, window, str(error), pipedrive.known_at(window))
            if found.fingerprint == landed_last:
                # The partition before holds what was new in it.
                return lake.land(table, window, [], pipedrive.known_at(window))
            for note in found.notes:
                context.log.warning(note)
            if found.read_as:
                context.log.info(found.read_as)
            if notes := [text for text in (found.read_as, *found.notes) if text]:
                context.add_asset_metadata(
                    {"file": dg.MetadataValue.md("\n\n".join(notes))}, partition_key=window.key
                )
            landing = lake.land_export(
                table,
                window,
                [found.rows],
                pipedrive.known_at(window),
                ExportInfo(found.exported_at, config.full, rules.hard_delete_limit),
            )
            extracted(lake, table, found)
            landed_last = found.fingerprint
            return landing

        return result_of(table, [*land_partitions(context, lake, table, read, rules, landed)])

    return ingest
