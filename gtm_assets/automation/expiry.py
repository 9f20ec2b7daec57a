"""The asset that lets go of old snapshots of Iceberg tables."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from gtm_assets.automation.compaction import GROUP
from gtm_assets.dbt.expiry import expire_snapshots
from gtm_assets.runtime.retries import retried
from gtm_assets.settings import Settings

ASSET_KEY = dg.AssetKey([GROUP, "expired_snapshots"])


def expired_snapshots_asset(settings: Settings, built: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """The asset that expires snapshots when it is materialized. Its metadata say what went."""

    @dg.asset(
        key=ASSET_KEY,
        deps=built,
        group_name=GROUP,
        tags={"layer": GROUP},
        kinds={"iceberg"},
        owners=["team:revops"],
        description="Old snapshots of Iceberg tables are gone, with files that old which no table needs. What is "
        "built and what is published stays.",
    )
    def expired_snapshots(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with retried(context, settings.retry_seconds):
            done = expire_snapshots(settings, context.log.info)
        assert done is not None
        return dg.MaterializeResult(
            metadata={"snapshots": done.snapshots, "files": done.files, "bytes": done.bytes}
        )

    return expired_snapshots
