"""The jobs. ``gtm run``, the schedules and the sensors use them, and the UI offers them."""

from __future__ import annotations

import dagster as dg

from gtm_assets.publish import ASSET_KEY as PUBLISHED
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.transform import BUILD_OP, LAYERS

RAW = dg.AssetSelection.tag("layer", "raw")
BUILT = dg.AssetSelection.groups(*LAYERS) | dg.AssetSelection.assets(PUBLISHED)

REBUILD = {BUILD_OP: {"config": {"full_refresh": True}}}
"""Config of the ops that rebuilds every model from the whole lake."""
EXTRACT_ALL = {f"{table.source}__{table.name}": {"config": {"full": True}} for table in OBJECTS}
"""Config of the ops that takes every record of every table."""

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
full_refresh = dg.define_asset_job(
    "full_refresh",
    selection=RAW | BUILT,
    config={"ops": {**EXTRACT_ALL, **REBUILD}},
    description="Compare every raw table with all records of the source, which finds hard deletes and changed "
    "formula fields, then rebuild every model, prove and publish.",
)
