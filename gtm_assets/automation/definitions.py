"""Everything that runs by itself, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from gtm_assets.automation import intraday, schedules, sensors
from gtm_assets.automation.compaction import compacted_lake_asset
from gtm_assets.automation.expiry import expired_snapshots_asset
from gtm_assets.automation.freshness import (
    Freshness,
    freshness_checks,
    freshness_sensor,
    landing_deadline,
    publishing_deadline,
)
from gtm_assets.automation.jobs import TRANSFORMING, Jobs
from gtm_assets.checks.definitions import discrepancies
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.checks.service_levels import service_levels_asset
from gtm_assets.checks.source_freshness import source_freshness_checks
from gtm_assets.lake.store import Lake
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.reporting.assets import ASSET_KEY as REPORT
from gtm_assets.serving.names import ASSET_KEY as SERVED
from gtm_assets.serving.names import WATCHED
from gtm_assets.settings import Settings
from gtm_assets.sources.raw_asset import asset_key
from gtm_assets.sources.registry import external_tables, full_extraction_checks, raw_tables


def automation(
    settings: Settings, lake: Lake, checks: CheckRegistry, manifest: Mapping[str, Any]
) -> dg.Definitions:
    """Jobs and what starts them. ``checks`` are those that publishing looks at.

    We land no days of external tables: a schedule starts their build, and their loader sees to their freshness.
    """
    tables = raw_tables(settings)
    served = [*([REPORT] if settings.writes_report else []), *([SERVED, *WATCHED] if settings.serves else [])]
    if external := external_tables(settings):
        jobs = Jobs.of(tables, external=external, served=served)
        return dg.Definitions(
            asset_checks=[source_freshness_checks(settings, manifest, [asset_key(table) for table in external])],
            jobs=[
                jobs.transform,
                *([jobs.refresh, jobs.full_extraction, jobs.extract] if tables else []),
                *([jobs.watch] if settings.serves else []),
            ],
            schedules=schedules.of_external_tables(settings, jobs, lands=bool(tables)),
        )
    jobs = Jobs.of(tables, compared=full_extraction_checks(settings), served=served)
    freshness = Freshness(settings, lake, tables)
    levels = service_levels_asset(
        freshness.calendar,
        {asset_key(table): table.qualified_name for table in tables},
        PUBLISHED,
        discrepancies(checks),
        list(TRANSFORMING),
        landing_deadline(settings),
        publishing_deadline(settings),
    )
    expiry = [expired_snapshots_asset(settings, [PUBLISHED])] if settings.engine == "spark" else []
    return dg.Definitions(
        assets=[levels, compacted_lake_asset(settings, tables, manifest), *expiry],
        asset_checks=[freshness_checks(freshness), source_freshness_checks(settings, manifest)],
        jobs=[*jobs.all, *([jobs.expire] if expiry else []), *([jobs.watch] if settings.serves else [])],
        schedules=[
            *schedules.all_schedules(settings, jobs),
            *intraday.schedules(settings, lake, tables, jobs),
        ],
        sensors=[
            *sensors.all_sensors(settings, freshness.calendar, lake, checks, tables, jobs),
            freshness_sensor(settings, freshness),
        ],
    )
