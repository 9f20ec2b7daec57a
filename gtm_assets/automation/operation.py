"""Everything that runs by itself, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from gtm_assets.automation import jobs, schedules, sensors
from gtm_assets.automation.freshness import (
    Freshness,
    freshness_checks,
    freshness_sensor,
    landing_deadline,
    publishing_deadline,
)
from gtm_assets.checks.built import discrepancies
from gtm_assets.checks.service_levels import service_levels_asset
from gtm_assets.checks.source_freshness import source_freshness_checks
from gtm_assets.lake import Lake
from gtm_assets.publish import ASSET_KEY as PUBLISHED
from gtm_assets.settings import Settings
from gtm_assets.sources.salesforce.assets import asset_key
from gtm_assets.sources.salesforce.catalog import OBJECTS


def automation(
    settings: Settings, lake: Lake, checks: Mapping[dg.AssetCheckKey, bool], manifest: Mapping[str, Any]
) -> dg.Definitions:
    """Jobs and what starts them. ``checks`` are those that publishing looks at, with whether each is blocking.

    A landing has no days of ours: it is built by the clock, and its freshness is its loader's.
    """
    if settings.is_landed:
        sources = source_freshness_checks(settings, manifest)
        return dg.Definitions(
            asset_checks=[sources], jobs=[jobs.transform_landing], schedules=schedules.of_a_landing()
        )
    freshness = Freshness(settings, lake, OBJECTS)
    levels = service_levels_asset(
        freshness.calendar,
        {asset_key(table): table.qualified_name for table in OBJECTS},
        PUBLISHED,
        discrepancies(checks),
        [job.name for job in jobs.TRANSFORMING],
        landing_deadline(settings),
        publishing_deadline(settings),
    )
    return dg.Definitions(
        assets=[levels],
        asset_checks=[freshness_checks(freshness), source_freshness_checks(settings, manifest)],
        jobs=[*jobs.TRANSFORMING, jobs.extract, jobs.measure],
        schedules=schedules.all_schedules(settings),
        sensors=[
            *sensors.all_sensors(settings, freshness.calendar, lake, checks),
            freshness_sensor(settings, freshness),
        ],
    )
