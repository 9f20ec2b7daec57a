"""The jobs. ``gtm run`` uses them, and the UI offers them."""

from __future__ import annotations

import dagster as dg

from gtm_assets.publish import ASSET_KEY as PUBLISHED
from gtm_assets.transform import LAYERS

RAW = dg.AssetSelection.tag("layer", "raw")
BUILT = dg.AssetSelection.groups(*LAYERS) | dg.AssetSelection.assets(PUBLISHED)

extract = dg.define_asset_job(
    "extract",
    selection=RAW,
    description="Land partitions of every raw table. Builds nothing.",
)
transform = dg.define_asset_job(
    "transform",
    selection=BUILT,
    description="Build what the lake holds and the warehouse has not consumed, prove it and publish it.",
)
refresh = dg.define_asset_job(
    "refresh",
    selection=RAW | BUILT,
    description="Land partitions of every raw table, then build, prove and publish.",
)
