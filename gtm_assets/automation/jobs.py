"""The jobs. ``gtm run``, the schedules and the sensors use them, and the UI offers them."""

from __future__ import annotations

import dagster as dg

from gtm_assets.checks.freshness import LANDED as LANDED_ON_TIME
from gtm_assets.checks.freshness import PUBLISHED as PUBLISHED_ON_TIME
from gtm_assets.checks.service_levels import ASSET_KEY as SERVICE_LEVELS
from gtm_assets.checks.source_freshness import CHECK as SOURCE_IS_FRESH
from gtm_assets.checks.totals import CHECK as TOTALS_CHECK
from gtm_assets.publish import ASSET_KEY as PUBLISHED
from gtm_assets.sources.salesforce.assets import asset_key
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.transform import BUILD_OP, LAYERS

# Freshness is not theirs to check: while a backfill runs, days are missing.
FRESHNESS = dg.AssetSelection.checks(
    *(dg.AssetCheckKey(asset_key(table), LANDED_ON_TIME) for table in OBJECTS),
    dg.AssetCheckKey(PUBLISHED, PUBLISHED_ON_TIME),
)
SOURCE_FRESHNESS = dg.AssetSelection.checks(
    *(dg.AssetCheckKey(asset_key(table), SOURCE_IS_FRESH) for table in OBJECTS if table.busy)
)
# Equal to the source is what was just compared with all of it, and nothing else.
TOTALS = dg.AssetSelection.checks(*(dg.AssetCheckKey(asset_key(table), TOTALS_CHECK) for table in OBJECTS))
RAW = dg.AssetSelection.tag("layer", "raw") - FRESHNESS - SOURCE_FRESHNESS - TOTALS
_BUILT = dg.AssetSelection.groups(*LAYERS) | dg.AssetSelection.assets(PUBLISHED)
BUILT = _BUILT - FRESHNESS

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
transform_landing = dg.define_asset_job(
    "transform",
    selection=_BUILT | SOURCE_FRESHNESS,
    description="Build what the landing holds, prove it and publish it.",
)
refresh = dg.define_asset_job(
    "refresh",
    selection=RAW | BUILT,
    description="Land partitions of every raw table, then build, prove and publish.",
)
full_refresh = dg.define_asset_job(
    "full_refresh",
    selection=RAW | TOTALS | BUILT,
    config={"ops": {**EXTRACT_ALL, **REBUILD}},
    description="Compare every raw table with all records of the source, which finds hard deletes and changed "
    "formula fields, and with its counts and sums; then rebuild every model, prove and publish.",
)
measure = dg.define_asset_job(
    "measure",
    selection=dg.AssetSelection.assets(SERVICE_LEVELS) | SOURCE_FRESHNESS,
    description="Measure how the last 30 days kept the service levels, and ask dbt how fresh the sources are.",
)
TRANSFORMING = (transform, refresh, full_refresh)
"""The jobs that build and publish."""
