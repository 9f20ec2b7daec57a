"""Letting go of what an engine keeps of earlier tables, under the warehouse's lock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from gtm_assets import clock
from gtm_assets.dbt.state import States
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines.engine import Expired
from gtm_assets.settings import Settings


def expire_snapshots(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Expired | None:
    """Let go of snapshots that are older than the settings say; None of an engine that keeps none.

    ``say`` hears for whom we wait.

    Raises:
        WarehouseError: the warehouse can't be opened.
        EngineError: the engine can't be asked. No file that anybody needs was removed.
    """
    warehouse = Warehouse.of(settings)
    with warehouse.locked("gtm warehouse expire", say):
        states = States(warehouse.engine)
        done = warehouse.engine.expire(clock.now() - timedelta(days=settings.spark_snapshot_days))
        # The tables are as they were: what was built stands.
        if states.nodes:
            states.keep()
    return done
