"""Compacting the lake: its files are merged, and the warehouse follows before the old ones go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from filelock import FileLock

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt.project import run_dbt
from gtm_assets.dbt.state import States
from gtm_assets.lake.compaction import Compaction
from gtm_assets.lake.store import Lake
from gtm_assets.settings import Settings


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
    lake = Lake.of(settings)
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
        # Imported here: most often there is nothing to merge, and the warehouse's module takes seconds.
        from gtm_assets.dbt.warehouse import Warehouse

        warehouse = Warehouse.of(settings)
        # Whoever lists the lake from here on finds the merged files; builds that listed it before hold one
        # of the locks, and checks list it again where a file has gone.
        _outwait_builds_as_of(settings)
        with warehouse.locked("gtm lake compact", say):
            if warehouse.engine.exists():
                states = States(warehouse.engine)
                for _ in run_dbt(["run-operation", "follow_compaction"], settings, warehouse.engine):
                    pass
                warehouse.engine.follow_compaction(lake, tables)
                # Only the batches' paths have changed: what was built stands.
                states.keep()
            removed = sum(lake.remove_replaced(table) for table in tables)
        say(f"{removed:,} files were removed.")
    return done


def _outwait_builds_as_of(settings: Settings) -> None:
    """Wait for the builds as of an earlier day that are under way: each has a warehouse and a lock of its own."""
    for path in (settings.home / "as_of").glob(".*.lock"):
        with FileLock(path):
            pass
