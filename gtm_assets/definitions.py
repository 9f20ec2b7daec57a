"""The code location: what Dagster is offered."""

from __future__ import annotations

import json

import dagster as dg

from gtm_assets.automation import jobs, schedules, sensors
from gtm_assets.dbt_runner import manifest_path
from gtm_assets.lake import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.publish import published_asset
from gtm_assets.settings import Settings, load_settings
from gtm_assets.sources.salesforce.assets import raw_asset
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.transform import DbtBuild, transform_assets
from gtm_assets.warehouse import Warehouse


def definitions(settings: Settings) -> dg.Definitions:
    """The code location for these settings."""
    calendar = Calendar.of(settings)
    lake, warehouse = Lake(settings.lake_dir), Warehouse.of(settings)
    manifest = json.loads(manifest_path().read_text())

    raw = [raw_asset(table, calendar, settings.hard_delete_limit, settings.retry_seconds) for table in OBJECTS]
    built = transform_assets(manifest)
    checks = {spec.key: spec.blocking for assets in [*raw, built] for spec in assets.check_specs}

    return dg.Definitions(
        assets=[*raw, built, published_asset(built, checks, manifest, settings.retry_seconds)],
        jobs=[jobs.extract, jobs.transform, jobs.refresh, jobs.full_refresh],
        schedules=schedules.all_schedules(settings),
        sensors=sensors.all_sensors(settings, calendar, lake, checks),
        resources={
            "org": SyntheticOrg(settings.synthetic_seed, settings.synthetic_scale),
            "lake": lake,
            "warehouse": warehouse,
            "dbt_build": DbtBuild(settings, warehouse, lake),
            "published_path": settings.published_path,
        },
        executor=dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor,
    )


defs = definitions(load_settings())
