"""The batches of months that are long over, merged into one file a table and month: a command and an asset."""

from collections.abc import Callable, Sequence

import dagster as dg
from filelock import FileLock

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt.project import run_dbt
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.lake.compaction import Compaction
from gtm_assets.lake.store import Lake
from gtm_assets.runtime.retries import retried
from gtm_assets.settings import Settings
from gtm_assets.sources.raw_asset import asset_key

GROUP = "operations"
ASSET_KEY = dg.AssetKey([GROUP, "compacted_lake"])


def compact_lake(
    settings: Settings, tables: Sequence[RawTable], say: Callable[[str], None] = lambda _: None
) -> list[Compaction]:
    """Compact the tables and remove the files that were merged. What ended early before is finished too.

    Gives what was done for each table. ``say`` hears of each table with something to merge, and of waiting.

    Raises:
        LakeError: a file of the lake can't be read or written. Nothing is lost.
        TransformError: dbt could not enter the merged files in the warehouse. No file was removed.
        WarehouseError: a process outside the platform has the warehouse open. No file was removed.
    """
    lake, warehouse = Lake(settings.lake_dir), Warehouse.of(settings)
    done = []
    for table in tables:
        compaction = lake.compact(table, settings.compaction_days)
        done.append(compaction)
        if compaction.files_after:
            say(
                f"{table.qualified_name}: {compaction.batches:,} batches in {compaction.files_before:,} files "
                f"are in {compaction.files_after:,} now."
            )
    if any(lake.replaced(table) for table in tables):
        # Whoever lists the lake from here on finds the merged files; builds that listed it before hold one
        # of the locks, and checks list it again where a file has gone.
        _outwait_builds_as_of(settings)
        with warehouse.locked("gtm lake compact", say):
            if warehouse.path.exists():
                for _ in run_dbt(["run-operation", "follow_compaction"], settings, warehouse.path):
                    pass
            removed = sum(lake.remove_replaced(table) for table in tables)
        say(f"{removed:,} files were removed.")
    return done


def _outwait_builds_as_of(settings: Settings) -> None:
    """Wait for the builds as of an earlier day that are under way: each has a warehouse and a lock of its own."""
    for path in (settings.home / "as_of").glob(".*.lock"):
        with FileLock(path):
            pass


def compacted_lake_asset(settings: Settings, tables: Sequence[RawTable]) -> dg.AssetsDefinition:
    """The asset that compacts the lake when it is materialized. Its metadata say what was merged."""

    @dg.asset(
        key=ASSET_KEY,
        deps=[asset_key(table) for table in tables],
        group_name=GROUP,
        tags={"layer": GROUP},
        kinds={"parquet"},
        owners=["team:revops"],
        description="The lake's months that are long over, in one file a table and month. What they hold and when "
        "it was known stays as it was.",
    )
    def compacted_lake(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with retried(context, settings.retry_seconds):
            done = compact_lake(settings, tables, context.log.info)
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
                "batches_merged": sum(compaction.batches for compaction in merged),
                "files_before": sum(compaction.files_before for compaction in merged),
                "files_after": sum(compaction.files_after for compaction in merged),
                "tables": dg.MetadataValue.table(rows, schema),
            }
        )

    return compacted_lake
