"""The asset that merges the batches of months that are long over into one file a table and month."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from gtm_assets import clock
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt.compaction import compact_lake
from gtm_assets.privacy.retention import retain_lake
from gtm_assets.runtime.retries import retried
from gtm_assets.settings import Settings
from gtm_assets.sources.raw_asset import asset_key

GROUP = "operations"
ASSET_KEY = dg.AssetKey([GROUP, "compacted_lake"])


def compacted_lake_asset(
    settings: Settings, tables: Sequence[RawTable], manifest: Mapping[str, Any]
) -> dg.AssetsDefinition:
    """The asset that compacts the lake when it is materialized. Its metadata say what was merged."""

    @dg.asset(
        key=ASSET_KEY,
        deps=[asset_key(table) for table in tables],
        group_name=GROUP,
        tags={"layer": GROUP},
        kinds={"parquet"},
        owners=["team:revops"],
        description="The lake's months that are long over, in one file a table and month. What they hold and when "
        "it was known stays as it was, but for superseded versions where GTM_RETENTION_DAYS says so.",
    )
    def compacted_lake(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with retried(context, settings.retry_seconds):
            done = compact_lake(settings, tables, context.log.info)
            gone = retain_lake(settings, tables, manifest, clock.now(), context.log.info)
        merged = [compaction for compaction in done if compaction.files_after]
        rows = [
            dg.TableRecord(
                {
                    "table": compaction.table.qualified_name,
                    "batches": compaction.batches,
                    "files_before": compaction.files_before,
                    "files_after": compaction.files_after,
                }
            )
            for compaction in merged
        ]
        schema = dg.TableSchema(
            [dg.TableColumn("table")]
            + [dg.TableColumn(name, "int") for name in ("batches", "files_before", "files_after")]
        )
        return dg.MaterializeResult(
            metadata={
                "versions_let_go": sum(one.versions for one in gone),
                "batches_merged": sum(compaction.batches for compaction in merged),
                "files_before": sum(compaction.files_before for compaction in merged),
                "files_after": sum(compaction.files_after for compaction in merged),
                "tables": dg.MetadataValue.table(rows, schema),
            }
        )

    return compacted_lake
