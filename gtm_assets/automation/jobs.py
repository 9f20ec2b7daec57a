"""The jobs. ``gtm run``, the schedules and the sensors use them, and the UI offers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from gtm_assets.automation.compaction import ASSET_KEY as COMPACTED
from gtm_assets.automation.expiry import ASSET_KEY as EXPIRED
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks.definitions import EXTERNAL_IS_SOUND
from gtm_assets.checks.freshness import LANDED as LANDED_ON_TIME
from gtm_assets.checks.freshness import PUBLISHED as PUBLISHED_ON_TIME
from gtm_assets.checks.service_levels import ASSET_KEY as SERVICE_LEVELS
from gtm_assets.checks.source_freshness import CHECK as SOURCE_IS_FRESH
from gtm_assets.dbt.assets import BUILD_OP, LAYERS
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.runtime.dagster_internals import UnresolvedAssetJobDefinition
from gtm_assets.serving.names import WATCHED
from gtm_assets.sources.raw_asset import asset_key

EXTRACT, TRANSFORM, REFRESH, FULL_EXTRACTION = "extract", "transform", "refresh", "full_extraction"
OLD_FULL_EXTRACTION = "full_refresh"
"""The name of that job up to release 0.1. Dagster's records still hold runs of that name."""
LANDING = frozenset({EXTRACT, REFRESH, FULL_EXTRACTION, OLD_FULL_EXTRACTION})
"""Names of the jobs that land."""
PUBLISHING = frozenset({EXTRACT, TRANSFORM, REFRESH, FULL_EXTRACTION})
"""Names of the jobs after which what is published may not be what there is to publish."""
TRANSFORMING = (TRANSFORM, REFRESH, FULL_EXTRACTION, OLD_FULL_EXTRACTION)
"""Names of the jobs that build and publish."""
REBUILD = {BUILD_OP: {"config": {"full_refresh": True}}}
"""Config of the ops that rebuilds every model from the whole lake."""
FORCED = {BUILD_OP: {"config": {"force": True}}}
"""Config of the ops that builds also what has not changed."""


def extract_all(tables: Sequence[RawTable]) -> dict[str, Any]:
    """Config of the ops that takes every record of every table."""
    return {f"{table.source}__{table.name}": {"config": {"full": True}} for table in tables}


@dataclass(frozen=True)
class Jobs:
    """The jobs of one code location."""

    extract: UnresolvedAssetJobDefinition
    transform: UnresolvedAssetJobDefinition
    refresh: UnresolvedAssetJobDefinition
    full_extraction: UnresolvedAssetJobDefinition
    measure: UnresolvedAssetJobDefinition
    compact: UnresolvedAssetJobDefinition
    expire: UnresolvedAssetJobDefinition
    """Only where the engine keeps snapshots."""
    watch: UnresolvedAssetJobDefinition
    """Only where what is published is served."""
    full_config: Mapping[str, Any]
    """Config of the full extraction."""

    @classmethod
    def of(
        cls,
        tables: Sequence[RawTable],
        external: Sequence[RawTable] = (),
        compared: Sequence[dg.AssetCheckKey] = (),
        served: Sequence[dg.AssetKey] = (),
    ) -> Jobs:
        """The jobs that land these tables and build all models.

        ``external`` are tables that another loader fills: we land no days of them that could be late, and each
        build asks how fresh they are. ``compared`` are the checks that follow only a full extraction, ``served``
        the assets that bring what is published to readers.
        """
        source_freshness = _source_freshness(external or tables)
        # These jobs don't check freshness: while a backfill runs, days are missing.
        freshness = dg.AssetSelection.checks(
            *(dg.AssetCheckKey(asset_key(table), LANDED_ON_TIME) for table in tables),
            dg.AssetCheckKey(PUBLISHED, PUBLISHED_ON_TIME),
        )
        totals = dg.AssetSelection.checks(*compared)
        raw: dg.AssetSelection = _raw(tables)
        built: dg.AssetSelection = _BUILT | dg.AssetSelection.assets(*served)
        if external:
            sound = dg.AssetSelection.checks(
                *(dg.AssetCheckKey(asset_key(table), EXTERNAL_IS_SOUND) for table in external)
            )
            built = built | source_freshness | sound
        else:
            raw, built = raw - freshness - source_freshness - totals, built - freshness
        full_config = {"ops": {**extract_all(tables), **REBUILD}}
        return cls(
            extract=dg.define_asset_job(
                EXTRACT,
                selection=raw,
                description="Land partitions of every raw table. Builds nothing.",
            ),
            transform=dg.define_asset_job(
                TRANSFORM,
                selection=built,
                description="Build what the lake holds and the warehouse has not consumed, prove it and publish "
                "it.",
            ),
            refresh=dg.define_asset_job(
                REFRESH,
                selection=raw | built,
                description="Land partitions of every raw table, then build, prove and publish.",
            ),
            full_extraction=dg.define_asset_job(
                FULL_EXTRACTION,
                selection=raw | totals | built,
                config=full_config,
                description="Compare every raw table with all records of the source, which finds hard deletes "
                "and changed formula fields, and with its counts and sums; then rebuild every model, prove and "
                "publish.",
            ),
            measure=dg.define_asset_job(
                "measure",
                selection=dg.AssetSelection.assets(SERVICE_LEVELS) | source_freshness,
                description="Measure how the last 30 days kept the service levels, and ask dbt how fresh the "
                "sources are.",
            ),
            compact=dg.define_asset_job(
                "compact",
                selection=dg.AssetSelection.assets(COMPACTED),
                description="Merge the lake's batches of each month that is long over into one file a table.",
            ),
            expire=dg.define_asset_job(
                "expire",
                selection=dg.AssetSelection.assets(EXPIRED),
                description="Let go of old snapshots of Iceberg tables, and of files that no table needs.",
            ),
            watch=dg.define_asset_job(
                "watch",
                selection=dg.AssetSelection.assets(*WATCHED),
                description="Read the server's log of who read personal and financial data, count what queries "
                "cost, and refuse roles for queries of the moment whose budget is used up.",
            ),
            full_config=full_config,
        )

    @property
    def all(self) -> list[UnresolvedAssetJobDefinition]:
        """All of them, but for those of some engines alone."""
        return [self.transform, self.refresh, self.full_extraction, self.extract, self.measure, self.compact]


_BUILT = dg.AssetSelection.groups(*LAYERS) | dg.AssetSelection.assets(PUBLISHED)


def _raw(tables: Sequence[RawTable]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(asset_key(table) for table in tables))


def _source_freshness(tables: Sequence[RawTable]) -> dg.AssetSelection:
    return dg.AssetSelection.checks(
        *(dg.AssetCheckKey(asset_key(table), SOURCE_IS_FRESH) for table in tables if table.expects_daily_rows)
    )
